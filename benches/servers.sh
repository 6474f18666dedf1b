# shellcheck shell=bash
# The servers of the benchmark: ours, Distribution, nginx; how they are begun, what they use. Sourced by lib.sh.

# begin NAME COMMAND...: in the background, its id recorded; ended by `finish NAME`, or with the run.
begin() {
	local name=$1
	shift
	mkdir -p "$WORK/pids" "$WORK/logs"
	(detached "$WORK/logs/$name.log" "$@") &
	record_pid "$WORK/pids/$name" $!
}
finish() { end_recorded "$WORK/pids/$1"; }
finish_all() {
	local file
	for file in "$WORK"/pids/*; do
		[ ! -e "$file" ] || end_recorded "$file"
	done
}
pid_of() { recorded_pid "$WORK/pids/$1" || die "$1 has ended: $(tail -n 3 "$WORK/logs/$1.log")"; }

answers() { [ "$(curl --silent --insecure --max-time 2 --output /dev/null --write-out '%{http_code}' "$1")" != 000 ]; }
await_server() { wait_for 20 answers "$2" || die "$1 does not answer: $(tail -n 3 "$WORK/logs/$1.log")"; }

# make_password: one for this run. No password is ever an argument of a program.
make_password() {
	mkdir -p "$WORK"
	chmod 700 "$WORK"
	openssl rand -hex 20 | tr -d '\n' >"$WORK/password"
	printf 'user = "admin:%s"\n' "$(cat "$WORK/password")" >"$WORK/admin.curl"
	printf 'Basic %s' "$(printf 'admin:%s' "$(cat "$WORK/password")" | base64 -w0)" >"$WORK/basic"
}

# make_certificate: one for this run, of the kind that is common.
make_certificate() {
	[ ! -s "$WORK/tls.crt" ] || return 0
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 \
		-keyout "$WORK/tls.key" -out "$WORK/tls.crt" 2>/dev/null
}

# begin_regatta NAME PORT DIR [WRAPPER...]: one whose admin has that password, without logs. MORE are further arguments, SCHEME is
# what they make of it.
MORE=() SCHEME=http
begin_regatta() {
	local name=$1 port=$2 dir=$3
	shift 3
	begin "$name" env REGATTA_LOG=off "$@" "$REGATTA" registry --root "$dir" --listen "127.0.0.1:$port" --admin-password-file "$WORK/password" "${MORE[@]}"
	await_server "$name" "$SCHEME://127.0.0.1:$port/v2/"
}

# begin_ours DIR: on the servers' core; $OURS is its URL.
begin_ours() {
	local port
	port=$(free_port)
	begin_regatta ours "$port" "$1" taskset -c "$SERVER_CORE"
	OURS=$SCHEME://127.0.0.1:$port
}

# begin_theirs DIR: Distribution, likewise; $THEIRS is its URL.
begin_theirs() {
	local port
	port=$(free_port)
	begin theirs env OTEL_TRACES_EXPORTER=none REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY="$1" REGISTRY_HTTP_ADDR="127.0.0.1:$port" \
		taskset -c "$SERVER_CORE" "$(part registry)" serve "$BENCHES/distribution.yaml"
	await_server theirs "http://127.0.0.1:$port/v2/"
	# shellcheck disable=SC2034 # for the parts
	THEIRS=http://127.0.0.1:$port
}
distribution_version() { version distribution github.com/distribution/distribution/v3; }

# nginx: where its program is. That of the machine, or else Debian's package, unpacked into the cache: installing it would begin a
# web server on this machine.
nginx() {
	local of_machine
	if of_machine=$(PATH=$PATH:/usr/sbin command -v nginx 2>/dev/null) && [ -x "$of_machine" ]; then
		printf '%s' "$of_machine"
	else
		printf '%s/nginx/usr/sbin/nginx' "$CACHE"
	fi
}
get_nginx() {
	local made=$CACHE/.making-nginx
	[ ! -x "$(nginx)" ] || return 0
	say 'fetching nginx (Debian'"'"'s package, unpacked into the cache)'
	rm -rf "$made"
	mkdir -p "$made"
	{ [ "$(id -u)" != 0 ] || apt-get -q update; } >>"$CACHE/apt.log" 2>&1
	(cd "$made" && apt-get -q download nginx && dpkg-deb -x nginx_*.deb . && rm nginx_*.deb) >>"$CACHE/apt.log" 2>&1 || die "nginx cannot be fetched: $(tail -n 3 "$CACHE/apt.log")"
	if ldd "$made/usr/sbin/nginx" | grep -q 'not found'; then die "nginx lacks $(ldd "$made/usr/sbin/nginx" | awk '/not found/ { print $1 }')"; fi
	mv "$made" "$CACHE/nginx"
}
nginx_version() { "$(nginx)" -v 2>&1 | sed 's,.*nginx/,,; s, .*,,'; }

# begin_nginx ROOT: on the servers' core; $NGINX and $NGINX_TLS are its URLs. `nginx` is its worker, which does all the work.
begin_nginx() {
	local dir=$WORK/nginx port tls as=()
	port=$(free_port) tls=$(free_port)
	make_certificate
	mkdir -p "$dir"
	sed "s,@PORT@,$port,; s,@TLS_PORT@,$tls,; s,@ROOT@,$1,; s,@CERTIFICATE@,$WORK/tls.crt,; s,@KEY@,$WORK/tls.key," "$BENCHES/nginx.conf" >"$dir/nginx.conf"
	# Its workers would be nobody, who may not read what is only root's.
	[ "$(id -u)" != 0 ] || as=(-g 'user root;')
	begin nginx-master taskset -c "$SERVER_CORE" "$(nginx)" -p "$dir" -c nginx.conf -e stderr "${as[@]}"
	# shellcheck disable=SC2034 # for the parts
	NGINX=http://127.0.0.1:$port NGINX_TLS=https://127.0.0.1:$tls
	await_server nginx-master "$NGINX/"
	record_pid "$WORK/pids/nginx" "$(child_of "$(pid_of nginx-master)")"
}
# The worker goes with its master; it is not asked itself.
finish_nginx() {
	finish nginx-master
	rm -f "$WORK/pids/nginx"
}
child_of() { awk -v parent="$1" '$1 == "PPid:" && $2 == parent { split(FILENAME, at, "/"); print at[3]; exit }' /proc/[0-9]*/status 2>/dev/null; }

# both_begin, both_finish: what most parts do.
both_begin() {
	"$E2E/parts.sh" distribution
	make_password
	begin_ours "$STORES/ours"
	begin_theirs "$STORES/theirs"
}
both_finish() {
	finish ours
	finish theirs
	rm -rf "$STORES"/{ours,theirs}
}

# Where the stores of a part are. What is pushed goes to the disk as it is; stores of a million files that are only read are on a
# filesystem of their own in a file, because removing them one by one takes longer than all else (minutes, where freed blocks are
# discarded at once).
STORES=$WORK
scratch_begin() {
	scratch_end
	packages mount=mount e2fsprogs=mkfs.ext4
	mkdir -p "$WORK/scratch"
	if [ "$(id -u)" = 0 ] && truncate -s 8G "$WORK/scratch.img" && PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -F -N 2400000 -E nodiscard "$WORK/scratch.img" &&
		mount -o loop,noinit_itable "$WORK/scratch.img" "$WORK/scratch" 2>/dev/null; then
		chmod 700 "$WORK/scratch"
	else
		say 'no filesystem can be mounted here: removing what is made now takes some minutes'
	fi
	STORES=$WORK/scratch
}
# scratch_end: what a run that was killed left, too.
scratch_end() {
	if mountpoint --quiet "$WORK/scratch" 2>/dev/null; then umount "$WORK/scratch"; fi
	rm -rf "$WORK/scratch" "$WORK/scratch.img"
	STORES=$WORK
}
# scratch_kind: as the document calls it.
scratch_kind() { if mountpoint --quiet "$WORK/scratch"; then printf 'ext4 in a file of its own'; else printf 'the filesystem of the others'; fi; }

# drop_caches: nothing of the stores is in memory any more. Fails where that cannot be done; a trial leaves the machine's others alone.
drop_caches() {
	[ -z "$QUICK" ] && [ -w /proc/sys/vm/drop_caches ] || return 1
	sync -f "$STORES"
	echo 3 >/proc/sys/vm/drop_caches
}
# base_of WHO
base_of() { if [ "$1" = ours ]; then printf '%s' "$OURS"; else printf '%s' "$THEIRS"; fi; }
# credentials_of WHO: Distribution runs without access control.
credentials_of() { [ "$1" = theirs ] || cat "$WORK/basic"; }

# --- what it costs -----------------------------------------------------------------------------------------------------------

TICKS=$(getconf CLK_TCK)
export TICKS

# disk_bytes PID: what a process made the system read from disks.
disk_bytes() { awk '$1 == "read_bytes:" { print $2 }' "/proc/$1/io"; }

# cpu_ticks PID: clock ticks of CPU of a process and all its threads, ended ones too.
cpu_ticks() {
	local stat fields
	stat=$(cat "/proc/$1/stat")
	read -ra fields <<<"${stat##*) }"
	printf '%s' $((fields[11] + fields[12]))
}
# busy_ticks: clock ticks that the machine's cores have worked, for whomever.
busy_ticks() { awk '$1 == "cpu" { print $2 + $3 + $4 + $7 + $8 + $9 }' /proc/stat; }

# status_mb PID FIELD: VmHWM, VmRSS in MB.
status_mb() { awk -v f="$2:" '$1 == f { printf "%.1f", $2 * 1024 / 1e6 }' "/proc/$1/status"; }
# note_peak NAME...: the most that each server of the part had resident so far.
note_peak() {
	local name
	for name in "$@"; do note memory "$name" peak "$(status_mb "$(pid_of "$name")" VmHWM)"; done
}
