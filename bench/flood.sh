# flood.sh - how soon a member is answered while strangers flood the agent's port; sourced by bench/run.
#
# Two hosts, one cluster with its store at h1.  h2 asks h1 as a member, on a new connection each time, and the whole request is timed
# (connection, handshake, answer).  Within a round in turn: nobody else; handshakes as fast as one client can make them;
# connections that say nothing, 1,000 a second; hosts that want to join with a wrong token, 200 a second.
# Then an agent beside an etcd that answers every call with an error, for a minute: its processor time, its log, the calls.

flood_probe() {                                   # flood_probe ITEM WAY ROUND: the times of 50 requests, ms; 10,000 for one without an answer
  local line
  while read -r line; do
    case $line in *" 200") result "$1" "$2" "$3" "$(per "${line% *} * 1000" 1)" ;; *) result "$1" "$2" "$3" 10000 ;; esac
  done < <(lab exec h2 bash -c "for i in {1..50}; do curl -sk --cert /var/lib/tulle/node.pem -o /dev/null -w '%{time_total} %{http_code}\\n' \
    -m 10 https://$net4.1:7940/v1/store/identity; sleep 0.02; done")
}
flood_with() {                                    # flood_with ITEM ROUND COMMAND...: probes beside it
  local item=$1 round=$2 pid; shift 2
  setsid "$repository/lab/lab" exec net "$@" >/dev/null 2>&1 & pid=$!
  sleep 1
  flood_probe "$item" tulle "$round"
  [ "$item" != flood-silent ] || result flood-open tulle "$round" "$(lab exec h1 sh -c "ss -Htn state established '( sport = :7940 )' | wc -l")"
  kill -- -$pid 2>/dev/null || true
  wait $pid 2>/dev/null || true
}
flood() {
  local round token before after pid order lines
  say "a flood, $ROUNDS rounds"
  lab down; lab up 2 --no-docker
  lab agent h1 --docker-socket none >/dev/null
  token=$(lab tulle h1 token create | head -1)
  lab agent h2 --docker-socket none --join "$net4.1" --token "$token"
  order='{"proof":"00112233445566778899aabbccddeeff00112233","node":"11111111-1111-4111-8111-111111111111","name":"x","request":"x","time":1}'
  for ((round = 1; round <= ROUNDS; round++)); do
    flood_probe flood-none tulle "$round"
    flood_with flood-handshakes "$round" openssl s_time -connect "$net4.1:7940" -new -time 60
    flood_with flood-silent "$round" bash -c "ulimit -n 65536; while :; do for i in {1..100}; do exec {fd}<>/dev/tcp/$net4.1/7940; done; sleep 0.1; done"
    flood_with flood-tokens "$round" bash -c "while :; do for i in {1..20}; do curl -sk -m 9 -o /dev/null -X POST -d '$order' https://$net4.1:7940/v1/join & done; sleep 0.1; done"
  done
  lab down
  flood_etcd
  progress "floods"
}
flood_etcd() {
  local pid before after calls
  lab up 1 --no-docker
  mkdir "$scratch/etcd"
  setsid "$repository/lab/lab" exec net etcd --data-dir "$scratch/etcd" --listen-client-urls "http://$net4.254:2379" \
    --advertise-client-urls "http://$net4.254:2379" >/dev/null 2>&1 & pid=$!
  within 10 lab exec net curl -sf -m 1 "http://$net4.254:2379/health"
  lab agent h1 --docker-socket none --store "etcd://$net4.254" >/dev/null
  kill -- -$pid; wait $pid 2>/dev/null || true
  # In its place something that answers each call with 503, and counts.
  echo 0 >"$scratch/calls"
  setsid "$repository/lab/lab" exec net "$tool" refuse 2379 "$scratch/calls" >/dev/null 2>&1 & pid=$!
  sleep 10                                        # its start, and the pauses that grow, are over
  before=$(sed 's/.*) //' "/proc/$(agent_pid h1)/stat" | awk '{ print $12 + $13 }') calls=$(cat "$scratch/calls")
  lines=$(wc -l <"$dir/h1/agent.log")
  sleep 60
  after=$(sed 's/.*) //' "/proc/$(agent_pid h1)/stat" | awk '{ print $12 + $13 }')
  result etcd-cpu tulle 1 "$(per "$after - $before" 60)"       # hundredths of a second each second: percent of a core
  result etcd-log tulle 1 "$(($(wc -l <"$dir/h1/agent.log") - lines))"
  result etcd-calls tulle 1 "$(($(cat "$scratch/calls") - calls))"
  lab kill agent h1
  kill -- -$pid 2>/dev/null || true
  wait $pid 2>/dev/null || true
  lab down
}
