# scale.sh - an agent that starts in a cluster of 100, 1,000 and 4,000 other nodes; sourced by bench/run.
#
# It runs on a fresh host with a cluster of its own.  The other nodes are objects in the store, written while the agent is down, each
# with one block of a network that has a container here: so a route, a neighbour and a forwarding row per node are
# wanted.  The agent starts once to make them; from the kernel's own lists come the rows for `ip -batch`.  Then, in turn:
#   the rows are removed, the agent starts (bench/tool/AgentStart.swift watches);
#   the rows are removed, `ip -batch` and `bridge -batch` add them.

scale_rows() {                                    # scale_rows: the agent's rows as batches
  local ns=$1
  lab exec h1 bash -eu <<EOF >/dev/null
    cd /run
    ip -n $ns -o route show dev vxlan >rows
    sed 's/^/route add /; s/\$/ dev vxlan/' rows >routes.add
    awk '{ print "route del " \$1 " dev vxlan" }' rows >routes.del
    ip -n $ns -o neigh show nud permanent dev vxlan >rows
    awk '{ print "neigh add " \$1 " lladdr " \$3 " dev vxlan nud permanent" }' rows >neighbors.add
    awk '{ print "neigh del " \$1 " dev vxlan" }' rows >neighbors.del
    nsenter --net=/run/netns/$ns bridge fdb show dev vxlan | grep ' dst ' >rows
    awk '{ print "fdb add " \$1 " dev vxlan dst " \$3 " self permanent" }' rows >fdb.add
    awk '{ print "fdb del " \$1 " dev vxlan dst " \$3 " self" }' rows >fdb.del
EOF
}
scale_batch() {                                   # scale_batch NAMESPACE add|del
  lab exec h1 nsenter --net=/run/netns/"$1" bash -euc "
    cd /run; start=\${EPOCHREALTIME/./}
    ip -batch neighbors.$2; bridge -batch fdb.$2; ip -batch routes.$2
    echo \$((\${EPOCHREALTIME/./} - start))"
}
scale_start() {                                   # scale_start NAMESPACE ROUTES: a line of bench-tool's
  # The tool lives in the network's namespace, the agent in the host's.
  lab exec h1 env -i PATH="$PATH" HOME=/root MALLOC_ARENA_MAX=2 nsenter --net=/run/netns/"$1" \
    "$tool" start "$2" /run/docker/plugins/tulle.sock /run/scale.log nsenter --net=/proc/1/ns/net "$TULLE" agent
}

scale() {
  local count round line network namespace state=$dir/h1/lib/tulle counts=(100 1000 4000)
  say "scale: ${counts[*]} remote nodes, $ROUNDS rounds"
  lab down; lab up 1
  lab agent h1
  lab docker h1 network create -d tulle --ipam-driver tulle --subnet 10.32.0.0/13 scale >/dev/null
  lab docker h1 run -d --name scale --network scale lab sleep 36000 >/dev/null
  network=$(lab tulle h1 networks --output json | jq -r '.[] | select(.name == "scale").id')
  namespace=tulle-${network:0:12}
  lab kill agent h1
  cp -a "$state" "$scratch/state"

  for count in "${counts[@]}"; do
    rm -rf "$state"; cp -a "$scratch/state" "$state"
    "$tool" fill "$state/store.db" "$network" 10.32.0.0/13 "$count"
    scale_start "$namespace" "$count" >/dev/null
    scale_rows "$namespace"
    [ "$(wc -l <"$dir/h1/run/routes.add")" = "$count" ] || die "there are $(wc -l <"$dir/h1/run/routes.add") routes, not $count"
    for ((round = 1; round <= ROUNDS; round++)); do
      scale_batch "$namespace" del >/dev/null
      line=$(scale_start "$namespace" "$count")
      result "routes-$count" tulle $round "$(value routes_ms "$line")"
      result "answer-$count" tulle $round "$(value answer_ms "$line")"
      result "memory-$count" tulle $round "$(per "$(value peak_kb "$line")" 1024)"
      scale_batch "$namespace" del >/dev/null
      result "routes-$count" batch $round "$(per "$(scale_batch "$namespace" add)" 1000)"
    done
    scale_batch "$namespace" del >/dev/null
    progress "$count nodes"
  done
}
