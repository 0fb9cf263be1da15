/// simulation: a cluster of many nodes in one process, its time and its accidents made of a number.
///
///     simulation SEEDS [JOBS]       runs the seeds 1 to SEEDS, or FIRST-LAST, in so many processes at once
///     simulation --seed N           one seed, and tells what happens
///
/// The last line counts. A seed that fails is named with its reasons and fails again in the same way when it is run again. The exit status is 1 then.
import Glibc

exit(Program.run(Array(CommandLine.arguments.dropFirst())))
