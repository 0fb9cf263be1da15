# report.jq - from samples to verdicts. Input: $samples and what is known of the machine; output: the JSON of bench/out, whose
# `table` is for people.
#
# A figure is the median over its rounds, or the quantile `q`. Where it stands against another way, `ratio` is the median of the
# rounds' own ratios: what one round shared (a busy neighbour, a warm cache) cancels out. `limit` and `goal` are for the ratio
# then, else for the figure; `more` says that more is better.

def figures: [
  {title: "container to container, two hosts", other: "VXLAN"},
  {item: "tcp1", name: "TCP, 1 stream", unit: "Gbit/s", against: "vxlan", limit: 0.95, goal: 1.15, more: true},
  {item: "tcp4", name: "TCP, 4 streams", unit: "Gbit/s", against: "vxlan", limit: 0.95, goal: 1.15, more: true},
  {item: "tcp1-cpu", name: "CPU per GB, 1 stream", unit: "s", against: "vxlan"},
  {item: "tcp4-cpu", name: "CPU per GB, 4 streams", unit: "s", against: "vxlan"},
  {item: "packets", name: "64-byte packets", unit: "kpps", against: "vxlan", more: true},
  {item: "packets-lost", name: "  of them lost", unit: "%", against: "vxlan", noratio: true},
  {item: "packets-cpu", name: "CPU per 64-byte packet", unit: "µs", against: "vxlan"},
  {item: "ping50", name: "ping-pong, p50", unit: "µs", against: "vxlan"},
  {item: "ping99", name: "ping-pong, p99", unit: "µs", against: "vxlan"},
  {title: "containers", other: "bridge"},
  {item: "run", name: "a whole docker run", unit: "ms", against: "bridge", limit: 1.1, goal: 0.95},
  {item: "attach-further", name: "agent, CreateEndpoint + Join, p50", unit: "ms", limit: 10, goal: 5},
  {item: "attach-further", name: "  p99", unit: "ms", q: 0.99},
  {item: "attach-first", name: "  p50, first container of a host", unit: "ms", limit: 10, goal: 5},
  {item: "attach-first", name: "  p99, first container of a host", unit: "ms", q: 0.99},
  {title: "an agent starts among other nodes", other: "ip -batch"},
  ((100, 1000, 4000) as $n |
    {item: "routes-\($n)", name: "\($n) nodes: every route is there", unit: "ms", against: "batch", limit: 1000, goal: 500, absolute: true},
    {item: "answer-\($n)", name: "  Docker is answered", unit: "ms", limit: 200, goal: 100},
    {item: "memory-\($n)", name: "  peak memory", unit: "MB", limit: 60, goal: 40}),
  {title: "a change until the last kernel has it", other: ""},
  ((100, 1000) as $n |
    {item: "propagate-\($n)", name: "\($n) nodes, p50", unit: "ms"},
    {item: "propagate-\($n)", name: "  p99", unit: "ms", q: 0.99, limit: 2000, goal: 1000},
    {item: "concerned-\($n)", name: "  CPU per change and node", unit: "µs"},
    {item: "other-\($n)", name: "  where it does not concern the node", unit: "µs"}),
  {title: "an agent under a flood of strangers", other: ""},
  {item: "flood-none", name: "a member's request, p99, nobody else", unit: "ms", q: 0.99},
  {item: "flood-handshakes", name: "  beside a flood of handshakes", unit: "ms", q: 0.99, limit: 100},
  {item: "flood-silent", name: "  of connections that say nothing", unit: "ms", q: 0.99, limit: 100},
  {item: "flood-tokens", name: "  of wrong tokens", unit: "ms", q: 0.99, limit: 100},
  {item: "flood-open", name: "connections open in the flood of silent ones", unit: "", limit: 300},
  {item: "etcd-cpu", name: "an etcd that fails: CPU of the agent", unit: "% of a core", limit: 1},
  {item: "etcd-log", name: "  lines in its log, a minute", unit: "", limit: 40},
  {item: "etcd-calls", name: "  calls, a minute", unit: "", limit: 40},
  {title: "the program", other: ""},
  {item: "build-debug", name: "clean debug build with tests", unit: "min", limit: 5},
  {item: "build-release", name: "clean release build", unit: "min", limit: 8},
  {item: "size", name: "stripped binary", unit: "MB", limit: 30},
  {item: "version", name: "tulle version", unit: "ms", limit: 15},
  {item: "idle", name: "idle agent, resident", unit: "MB", limit: 25}
];

def quantile($q): sort | if length == 0 then null else .[[length - 1, (length * $q | floor)] | min] end;
def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor] else (.[length / 2] + .[length / 2 - 1]) / 2 end;
def of($item; $way): [$samples[] | select(.item == $item and .way == $way)];

def measured:
  . as $f | of(.item; "tulle") as $own | of(.item; .against // "") as $others | of(.item; "raw") as $raw |
  ($others | map({key: "\(.round)", value: .value}) | from_entries) as $by |
  [$own[] | select($by["\(.round)"] != null and $by["\(.round)"] > 0) | .value / $by["\(.round)"]] as $ratios |
  . + {
    rounds: ($own | length),
    value: ([$own[].value] | if $f.q then quantile($f.q) else median end),
    other: ([$others[].value] | median), raw: ([$raw[].value] | median),
    ratio: (if $f.noratio then null else ($ratios | median) end)
  } |
  (if .against and (.absolute | not) then .ratio else .value end) as $judged |
  def meets($bound): if $f.more then $judged >= $bound else $judged <= $bound end;
  .verdict = (
    if .limit == null or $judged == null then ""
    elif .goal != null and meets(.goal) then "goal"
    elif meets(.limit) then (if .goal == null then "kept" else "limit" end)
    else "MISSED" end);

def number: if . == null then "" else
  (if . >= 100 then 0 elif . >= 10 then 1 else 2 end) as $digits |
  pow(10; $digits) as $scale | (. * $scale | round) as $scaled |
  "\($scaled / $scale | floor)" + if $digits == 0 then "" else
    ($scaled % $scale | tostring) as $rest | "." + "0" * ($digits - ($rest | length)) + $rest end end;
def right($width): tostring | " " * ([$width - length, 0] | max) + .;
def left($width): tostring | . + " " * ([$width - length, 0] | max);
def bound: if . == null then "" else tostring end;

def row:
  if .title then
    "\n" + (.title | left(43)) + (if .title | startswith("container to") then "raw" else "" end | right(9)) + (.other | right(10))
    + ("tulle" | right(9)) + ("ratio" | right(8)) + ("rounds" | right(8)) + ("limit" | right(7)) + ("goal" | right(6)) + "  verdict"
  else
    ("\(.name) (\(.unit))" | left(43)) + (.raw | number | right(9)) + (.other | number | right(10)) + (.value | number | right(9))
    + (.ratio | number | right(8)) + (.rounds | right(8)) + (.limit | bound | right(7)) + (.goal | bound | right(6)) + "  " + .verdict
  end;

[figures[] | if .title then . else measured | select(.rounds > 0) end] as $rows |
# A part that was not measured has no title either.
[range($rows | length) as $i | $rows[$i] | select(.title == null or ($rows[$i + 1] | . != null and .title == null))] as $rows |
{
  date: $date,
  machine: {cpu: $cpu, cpus: $cpus, kernel: $kernel, docker: $docker, load: {before: $before, after: $after}},
  tulle: {version: $tulle, commit: $commit},
  figures: [$rows[] | select(.title == null)],
  samples: $samples,
  table: ([
    "\($tulle) \($commit), Docker \($docker), Linux \($kernel), \($cpus) × \($cpu)",
    "load before \($before), after \($after)", ($rows[] | row)] | join("\n"))
}
