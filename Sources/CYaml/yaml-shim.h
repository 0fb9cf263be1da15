/* libyaml's public header, for Swift: the parser's events are all that is used. */
#include <yaml.h>
