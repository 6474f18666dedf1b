# shellcheck shell=bash
# The nodes' network: one bridge on the host, a veth pair a node. Sourced.
#
# The host has an address on the bridge, so it reaches every node, and every node reaches every other, of any cluster. There is no
# way from there to the world: the host forwards nothing and its firewall is not touched.

BRIDGE=regatta-bridge

# At most 15 characters, which is what an interface's name may have.
veth() { printf 'regatta-%s-%s' "$(cat "$STATE/$1/index")" "$2"; }

# claim_index NAME: the least number that no cluster has. Under the lock, and judged also by the interfaces, because clusters with
# another REGATTA_STATE share the bridge.
claim_index() {
	local name=$1 i
	mkdir -p "$STATE"
	for ((i = 1; i < 255; i++)); do
		[ ! -e "/sys/class/net/regatta-$i-1" ] || continue
		! grep -qsx "$i" "$STATE"/*/index || continue
		mkdir -p "$STATE/$name"
		echo "$i" >"$STATE/$name/index"
		make_bridge
		return
	done
	die 'there are 254 clusters already'
}

make_bridge() {
	[ ! -e "/sys/class/net/$BRIDGE" ] || return 0
	ip link add "$BRIDGE" type bridge
	ip address add "$NETWORK.0.1/16" dev "$BRIDGE"
	ip link set "$BRIDGE" up
}

remove_bridge_if_last() {
	if [ -e "/sys/class/net/$BRIDGE" ] && [ -z "$(ls "/sys/class/net/$BRIDGE/brif")" ] && [ -z "$(clusters)" ]; then
		ip link delete "$BRIDGE"
	fi
}

# A hardware address that follows from the address: when a node takes the place of another, its neighbours may hold on for half a
# minute to what they knew of the former.
mac_of() {
	local bytes
	IFS=. read -ra bytes <<<"$1"
	printf '02:00:%02x:%02x:%02x:%02x' "${bytes[@]}"
}

# connect_node NAME N INIT: its address, its routes, and those of its siblings to it.
connect_node() {
	local name=$1 n=$2 init=$3 veth address other
	veth=$(veth "$name" "$n") address=$(node_address "$name" "$n")
	ip link add "$veth" type veth peer name eth0 address "$(mac_of "$address")" netns "$init"
	ip link set "$veth" master "$BRIDGE" up
	in_node "$name" "$n" bash -c "
		set -e
		ip link set lo up
		ip address add $address/16 dev eth0
		ip link set eth0 up
		ip route add default via $NETWORK.0.1
		echo 1 >/proc/sys/net/ipv4/ip_forward
		# What leaves the cluster bears the node's address; between its pods, of any node, addresses are kept.
		iptables -w -t nat -A POSTROUTING -s $PODS.0.0/16 ! -d $PODS.0.0/16 -j MASQUERADE
	"
	for other in $(nodes_of "$name"); do
		if [ "$other" = "$n" ] || ! node_alive "$name" "$other"; then continue; fi
		in_node "$name" "$n" ip route add "$(pod_subnet "$other")" via "$(node_address "$name" "$other")"
		in_node "$name" "$other" ip route add "$(pod_subnet "$n")" via "$address"
	done
}

# The pair goes with the node's namespace, but not at once, and the next cluster of that index must not meet it.
disconnect_node() {
	local veth
	veth=$(veth "$1" "$2")
	ip link delete "$veth" 2>/dev/null || true
	wait_for 10 test ! -e "/sys/class/net/$veth" || die "interface $veth does not go"
}
