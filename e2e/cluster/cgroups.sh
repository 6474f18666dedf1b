# shellcheck shell=bash
# The control group a node, below which its kubelet makes those of the pods; and the mount points of the nodes. Sourced.
#
# Both versions of control groups: with the first there is a hierarchy a controller, with the second one for all.

# The roots of all hierarchies, a line each.
hierarchies() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts | sort -u; }

make_cgroups() {
	local node=$1 root below parent controllers
	for root in $(hierarchies); do
		for below in regatta-e2e "regatta-e2e/$node"; do
			# Second version: what a group may use, its parent must have handed down.
			parent=$(dirname "$root/$below")
			controllers=$(cat "$parent/cgroup.controllers" 2>/dev/null || true)
			[ -z "$controllers" ] || echo "+${controllers// / +}" >"$parent/cgroup.subtree_control"
			mkdir -p "$root/$below"
			# First version: a new cpuset is empty, and no process may enter it.
			if [ -e "$root/cpuset.cpus" ]; then
				cat "$root/cpuset.cpus" >"$root/$below/cpuset.cpus"
				cat "$root/cpuset.mems" >"$root/$below/cpuset.mems"
			fi
		done
	done
}

# The kernel needs a moment between the last process and the end of its groups.
remove_cgroups() {
	wait_for 10 try_remove_cgroups "$1" || die "the control groups of $1 do not go: something still runs in them"
}
try_remove_cgroups() {
	local root left=0
	for root in $(hierarchies); do
		if [ -d "$root/regatta-e2e/$1" ]; then
			find "$root/regatta-e2e/$1" -depth -type d -exec rmdir {} + || left=1
		fi
		rmdir "$root/regatta-e2e" 2>/dev/null || true # the last one out
	done
	return $left
}

# A node mounts directories of its own over these. The ones that were not there before are noted, and go with the last cluster.
make_mount_points() {
	local each
	for each in "${PRIVATE[@]}"; do
		[ -d "$each" ] || { mkdir -p "$each" && echo "$each" >>"$STATE/mount-points"; }
	done
}
remove_mount_points_if_last() {
	[ -z "$(clusters)" ] || return 0
	if [ -e "$STATE/mount-points" ]; then
		sort -u "$STATE/mount-points" | xargs rmdir --ignore-fail-on-non-empty
		rm -f "$STATE/mount-points"
	fi
	rmdir "$STATE" 2>/dev/null || true
}
