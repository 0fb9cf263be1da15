# data.sh - from container to container on two hosts; sourced by bench/run.
#
# Three ways lie side by side on the same two hosts, h1 and h2, and every measurement goes round all of them:
#   raw    a veth pair per container and a route to the other host: what the host itself can do
#   vxlan  the kernel's VXLAN, laid out as flannel does: bridge cni0 and device flannel.1 in the host's own
#          namespace, permanent rows, and flannel's iptables rules behind Docker's
#   tulle  a network of ours
# The containers are Docker's in all three (those of the first two with --network none, and a veth
# pair put in by hand).  The programs that measure run in the containers' network namespaces.

declare -A address pid                            # by HOST-LAYOUT

data_host() {                                     # data_host HOST: the two ways by hand
  local host=$1 me=${1#h} other=$((3 - ${1#h})) mac=
  [ "$me" = 1 ] && mac=02:fe:00:00:00:02 || mac=02:fe:00:00:00:01
  for layout in raw vxlan; do
    lab docker "$host" run -d --name $layout --network none lab sleep 36000 >/dev/null
    pid[$host-$layout]=$(lab docker "$host" inspect -f '{{.State.Pid}}' $layout)
  done
  address[$host-raw]=10.201.$me.2 address[$host-vxlan]=10.202.$me.2
  lab exec "$host" bash -eu <<EOF
    veth() {  # veth NAME PID MTU ADDRESS GATEWAY
      ip link add \$1 mtu \$3 type veth peer name eth0 mtu \$3 netns \$2
      ip link set \$1 up
      nsenter -t \$2 -n ip addr add \$4/24 dev eth0
      nsenter -t \$2 -n ip link set eth0 up
      nsenter -t \$2 -n ip route add default via \$5
    }
    sysctl -qw net.ipv4.ip_forward=1

    veth raw0 ${pid[$host-raw]} 1500 10.201.$me.2 10.201.$me.1
    ip addr add 10.201.$me.1/24 dev raw0
    ip route add 10.201.$other.0/24 via $net4.$other
    iptables -A FORWARD -s 10.201.0.0/16 -j ACCEPT
    iptables -A FORWARD -d 10.201.0.0/16 -j ACCEPT

    ip link add cni0 mtu 1450 type bridge
    ip addr add 10.202.$me.1/24 dev cni0
    ip link set cni0 up
    veth fl0 ${pid[$host-vxlan]} 1450 10.202.$me.2 10.202.$me.1
    ip link set fl0 master cni0
    ip link add flannel.1 address 02:fe:00:00:00:0$me mtu 1450 type vxlan id 1 local $net4.$me dev eth0 dstport 8472 nolearning
    ip addr add 10.202.$me.0/32 dev flannel.1
    ip link set flannel.1 up
    ip neigh replace 10.202.$other.0 lladdr $mac dev flannel.1 nud permanent
    bridge fdb replace $mac dev flannel.1 dst $net4.$other self permanent
    ip route replace 10.202.$other.0/24 via 10.202.$other.0 dev flannel.1 onlink
    rule() { iptables -t \$1 -A \$2 -m comment --comment "flanneld \$3" "\${@:4}"; }
    iptables -N FLANNEL-FWD
    rule filter FLANNEL-FWD forward -s 10.202.0.0/16 -j ACCEPT
    rule filter FLANNEL-FWD forward -d 10.202.0.0/16 -j ACCEPT
    rule filter FORWARD forward -j FLANNEL-FWD
    iptables -t nat -N FLANNEL-POSTRTG
    rule nat FLANNEL-POSTRTG masq -m mark --mark 0x4000/0x4000 -j RETURN
    rule nat FLANNEL-POSTRTG masq -s 10.202.0.0/16 -d 10.202.0.0/16 -j RETURN
    rule nat FLANNEL-POSTRTG masq -s 10.202.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully
    rule nat FLANNEL-POSTRTG masq ! -s 10.202.0.0/16 -d 10.202.$me.0/24 -j RETURN
    rule nat FLANNEL-POSTRTG masq ! -s 10.202.0.0/16 -d 10.202.0.0/16 -j MASQUERADE --random-fully
    rule nat POSTROUTING masq -j FLANNEL-POSTRTG
EOF
}

data_tulle() {                                    # data_tulle HOST: a container of the network "bench"
  lab docker "$1" run -d --name tulle --network bench lab sleep 36000 >/dev/null
  pid[$1-tulle]=$(lab docker "$1" inspect -f '{{.State.Pid}}' tulle)
  address[$1-tulle]=$(lab docker "$1" inspect -f '{{.NetworkSettings.Networks.bench.IPAddress}}' tulle)
}

within_container() { local key=$1-$2; lab exec "$1" nsenter -t "${pid[$key]}" -n "${@:3}"; }
busy() { awk '/^cpu / { print ($2 + $3 + $4 + $7 + $8) / 100 }' /proc/stat; }  # CPU seconds of the whole machine
per() { awk "BEGIN { printf \"%.6g\", ($1) / ($2) }"; }

data_tcp() {                                      # data_tcp LAYOUT ROUND STREAMS
  local before after
  before=$(busy)
  within_container h1 "$1" iperf3 -c "${address[h2-$1]}" -t "$seconds" -P "$3" -J >"$scratch/iperf.json" ||
    die "iperf3 by way of $1: $(jq -r .error "$scratch/iperf.json")"
  after=$(busy)
  local bits bytes
  read -r bits bytes < <(jq -r '.end.sum_received | "\(.bits_per_second) \(.bytes)"' "$scratch/iperf.json")
  result "tcp$3" "$1" "$2" "$(per "$bits" 1e9)"
  result "tcp$3-cpu" "$1" "$2" "$(per "$after - $before" "$bytes / 1e9")"
}

served() {                                        # served LAYOUT PROGRAM CLIENT...: the server's and the client's lines
  local layout=$1 program=$2 server; shift 2
  within_container h2 "$layout" "$tool" "$program" 5201 >"$scratch/server" & server=$!
  until grep -q ready "$scratch/server"; do sleep 0.02; done
  within_container h1 "$layout" "$tool" "$1" "${address[h2-$layout]}" 5201 "$seconds" >"$scratch/client"
  wait $server
  cat "$scratch/server" "$scratch/client"
}
value() { sed -nE "s/(^|.* )$1=([^ ]*).*/\2/p" <<<"$2"; }

data_packets() {                                  # data_packets LAYOUT ROUND
  local before after lines received
  before=$(busy)
  lines=$(served "$1" sink flood)
  after=$(busy)
  received=$(value received "$lines")
  result packets "$1" "$2" "$(per "$received" "$seconds * 1e3")"
  result packets-lost "$1" "$2" "$(per "$(value sent "$lines") - $received" "$(value sent "$lines") / 100")"
  result packets-cpu "$1" "$2" "$(per "($after - $before) * 1e6" "$received")"
}

data_ping() {                                     # data_ping LAYOUT ROUND
  local lines; lines=$(served "$1" echo ping)
  result ping50 "$1" "$2" "$(value p50_us "$lines")"
  result ping99 "$1" "$2" "$(value p99_us "$lines")"
}

data() {
  local layouts=(raw vxlan tulle) round layout host
  say "data path: three ways between two hosts, $ROUNDS rounds"
  # The underlay's bridge stands for a cable and a switch, which have no netfilter.
  lab exec net sh -c 'for file in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e "$file" ] || echo 0 >"$file"; done'
  for host in h1 h2; do data_host $host; data_tulle $host; done
  for layout in "${layouts[@]}"; do
    within 10 lab docker h1 exec "$layout" ping -c 1 -W 1 "${address[h2-$layout]}" || die "no way through by $layout"
    within_container h2 "$layout" iperf3 -s -D
  done
  for ((round = 1; round <= ROUNDS; round++)); do
    for layout in "${layouts[@]}"; do data_tcp "$layout" $round 1; done
    for layout in "${layouts[@]}"; do data_tcp "$layout" $round 4; done
    for layout in "${layouts[@]}"; do data_packets "$layout" $round; done
    for layout in "${layouts[@]}"; do data_ping "$layout" $round; done
    layouts=("${layouts[@]:1}" "${layouts[0]}")   # another one is first
    progress "round $round"
  done
}
