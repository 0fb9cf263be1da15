# propagation.sh - the time from a change on one node until the last kernel has it, among 100 and 1,000 nodes; sourced by bench/run.
#
# The nodes are agents in one process, on a store in memory and kernels that are values (Tests/Simulation/Propagation.swift), in real time: what the
# agents themselves need, on this machine's cores together, without sockets and a real kernel.

propagation() {
  local count line n
  step "the simulation" "$out/simulation.log" swift build --package-path "$repository" -c release --product simulation || exit
  for count in 100 1000; do
    say "propagation: $count nodes"
    n=0
    while read -r line; do
      n=$((n + 1))
      result "propagate-$count" tulle $n "$(value ms "$line")"
      result "concerned-$count" tulle $n "$(value concerned_us "$line")"
      result "other-$count" tulle $n "$(value other_us "$line")"
    done < <("$repository/.build/release/simulation" --propagation "$count" "$((ROUNDS * 10))")
    [ "$n" -gt 0 ] || die "no change came through"
    progress "$count nodes"
  done
}
