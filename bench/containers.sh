# containers.sh - what a network costs when containers come and go; sourced by bench/run.
#
# "plain" is a bridge network of Docker's.  On "empty", a network of ours, no other container lives on the host: each run
# makes the network's namespace and removes it.  On "bench" another container is there all the time.

# The agent says at log level debug how long each call took; CreateEndpoint and Join come in pairs.
attachments() {                                   # attachments ITEM: from what the agent has logged since line $from
  tail -n +"$from" "$dir/h1/agent.log" |
    sed -nE 's/.*call=NetworkDriver\.(CreateEndpoint|Join) duration="([^ ]*) seconds".*/\1 \2/p' |
    awk '$1 == "CreateEndpoint" { create = $2 } $1 == "Join" { printf "%.4g\n", (create + $2) * 1000 }' |
    { n=0; while read -r ms; do result "$1" tulle $((++n)) "$ms"; done; }
}

containers() {
  local from line
  say "containers: $RUNS runs on Docker's bridge and on an empty network of ours, then 200 beside another container"
  lab docker h1 network create plain >/dev/null
  lab docker h1 network create -d tulle --ipam-driver tulle --subnet 10.204.0.0/16 empty >/dev/null
  lab docker h1 inspect tulle >/dev/null 2>&1 || data_tulle h1
  mark() { from=$(($(wc -l <"$dir/h1/agent.log") + 1)); }

  mark
  while read -r line; do
    result run "$(sed 's/plain/bridge/; s/empty/tulle/' <<<"$(value network "$line")")" "$(value round "$line")" "$(value total_ms "$line")"
  done < <("$tool" runs "$dir/h1/run/docker.sock" "$RUNS" plain empty)
  attachments attach-first
  progress "whole runs"

  mark
  "$tool" runs "$dir/h1/run/docker.sock" 199 bench >/dev/null
  attachments attach-further
  progress "200 containers"
  lab docker h1 network rm empty >/dev/null
}
