# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What every script here shares: where things are, how a step is announced, how the build root is entered.

set -euo pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
CACHE=${KBUS_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/kbus}
# Downloads, build root and kernels are shared by all checkouts; what is built from this one is its own.
WORK=$CACHE/work-$(sha256sum <<<"$TOP" | cut -c1-12)
LOGS=$WORK/log
mkdir -p "$LOGS"

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# slug NAME: the name as a file's.
slug() { tr -c 'a-zA-Z0-9\n' '-' <<<"$1"; }

# usual NAME "5 min, later 20 s": how long this takes. What follows "later" is for when it was done before: in another run,
# or, from the third time on, what the last one took here, as a machine may be slower than the one that the text is of.
usual() {
	local seen times=0
	seen=$WORK/times/$(slug "$1 ${KERNEL:-}")
	[ ! -e "$seen" ] || times=$(wc -l <"$seen")
	case $times in
	0) echo "about ${2%%, later *}" ;;
	1) echo "about ${2##*, later }" ;;
	*) echo "$(tail -n 1 "$seen") s the last time" ;;
	esac
}

# took NAME SECONDS: what usual() is to say.
took() {
	mkdir -p "$WORK/times"
	echo "$2" >>"$WORK/times/$(slug "$1 ${KERNEL:-}")"
}

# step NAME "how long it takes, later how long" COMMAND...
# Runs a command with its output in a log, a line that counts the seconds meanwhile, and on failure the log's end.
step() {
	local name=$1 usual log start pid last=-1 now rc=0
	usual=$(usual "$1" "$2")
	shift 2
	log=$LOGS/$(slug "$name").log
	start=$SECONDS
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	# A terminal gets a running count; a log file a line every 30 seconds.
	while kill -0 "$pid" 2>/dev/null; do
		now=$((SECONDS - start))
		if [ -t 2 ]; then
			printf '\r  %-44s %4ds  (%s)' "$name" "$now" "$usual" >&2
		elif [ $((now / 30)) -ne "$last" ]; then
			last=$((now / 30))
			say "  $name: ${now}s so far ($usual)"
		fi
		sleep 0.2
	done
	wait "$pid" || rc=$?
	[ ! -t 2 ] || printf '\r%80s\r' '' >&2
	if [ "$rc" -ne 0 ]; then
		say "  $name: FAILED after $((SECONDS - start))s. The end of $log:"
		tail -n 25 "$log" | sed 's/^/    | /' >&2
		say "  Run the same command again: what is finished is kept. 'make clean-cache' starts from nothing."
		return "$rc"
	fi
	took "$name" $((SECONDS - start))
	say "  $name: done in $((SECONDS - start))s"
}

# need TOOL PACKAGE [TOOL PACKAGE]...: installs what is missing when root, names it when not.
need() {
	local missing=()
	while [ $# -gt 0 ]; do
		command -v "$1" >/dev/null 2>&1 || [ -e "/usr/sbin/$1" ] || [[ $1 == /* && -e $1 ]] || missing+=("$2")
		shift 2
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	if [ "$(id -u)" -ne 0 ]; then
		die "these Debian packages are missing: ${missing[*]}
       install them with: sudo apt-get install ${missing[*]}"
	fi
	step "install ${missing[*]}" "20 s" apt_install "${missing[@]}"
}

apt_install() {
	export DEBIAN_FRONTEND=noninteractive
	apt-get update
	apt-get install -y --no-install-recommends "$@"
}

# One bootstrap at a time in one cache: a second one waits.
lock_cache() {
	exec 9>"$CACHE/lock"
	flock -n 9 || { say "  another build is using $CACHE: waiting for it"; flock 9; }
}

# The build root is keyed by all that makes it.
ROOT=$CACHE/root-$(cat "$TOP/qemu/packages" "$TOP/qemu/make-root.sh" | sha256sum | cut -c1-12)

# The emulator is the build root's, so that it is the same one everywhere. (QEMU 7.2 is slow with the selftests, and
# before 8.1 it gives one of two processors that take turns most of them.)
EMULATOR=("$ROOT/lib64/ld-linux-x86-64.so.2" --library-path "$ROOT/usr/lib/x86_64-linux-gnu"
	"$ROOT/usr/bin/qemu-system-x86_64" -L "$ROOT/usr/share/qemu" -L "$ROOT/usr/share/seabios")

# in_root COMMAND...: runs it inside the build root, with this tree and the cache at their own paths.
in_root() {
	# shellcheck disable=SC2016
	unshare "${UNSHARE[@]}" --mount --propagation private bash -euc '
		root=$1 top=$2 cache=$3; shift 3
		for dir in /proc /sys /dev; do mount --rbind $dir "$root$dir"; done
		for dir in "$top" "$cache"; do mkdir -p "$root$dir"; mount --bind "$dir" "$root$dir"; done
		[ ! -e /etc/resolv.conf ] || cat /etc/resolv.conf >"$root/etc/resolv.conf"
		# The registries may be reached through a certificate of the host.
		[ ! -e /etc/ssl/certs/ca-certificates.crt ] || cat /etc/ssl/certs/ca-certificates.crt >"$root/etc/ssl/certs/ca-certificates.crt"
		exec chroot "$root" /usr/bin/env -i HOME="$cache/home" TERM="${TERM:-dumb}" LANG=C.UTF-8 \
			PATH=/usr/sbin:/usr/bin:/sbin:/bin CARGO_HOME="$cache/cargo" DEBIAN_FRONTEND=noninteractive \
			sh -euc "cd \"\$1\"; shift; exec \"\$@\"" sh "$top" "$@"
	' bash "$ROOT" "$TOP" "$CACHE" "$@"
}
UNSHARE=()
[ "$(id -u)" -eq 0 ] || UNSHARE=(--map-root-user --map-auto)

# kernel_line [SERIES]: "SERIES FLAVOUR" of the data file, the first one by default.
kernel_line() {
	awk -v want="${1:-}" '!/^#/ && NF == 2 && (want == "" || $1 == want) { print $1, $2; exit }' "$TOP/qemu/kernels"
}

# Sets SERIES, FLAVOUR, KERNELDIR, the folder of that kernel in the cache, KERNELSRC, its source, COMPILER, what make is
# told of the compiler, and OUT, where this checkout's module is built. KERNEL=debug is the kernel with the sanitizers of
# qemu/debug.config, made from the source of the first series, KERNEL=kcsan that of qemu/kcsan.config; SANITIZER is its
# name then.
choose_kernel() {
	SANITIZER=
	[ ! -e "$TOP/qemu/${KERNEL:-none}.config" ] || SANITIZER=$KERNEL
	read -r SERIES FLAVOUR <<<"$([ -n "$SANITIZER" ] && kernel_line || kernel_line "${KERNEL:-}")" || true
	[ -n "${SERIES:-}" ] || die "KERNEL=${KERNEL:-} is not in qemu/kernels, which has: $(awk '!/^#/ {print $1}' "$TOP/qemu/kernels" | xargs), nor a qemu/*.config"
	KERNELDIR=$CACHE/linux-$SERIES-$FLAVOUR-$(cat "$TOP/qemu/make-kernel.sh" "$ROOT/.made" 2>/dev/null | sha256sum | cut -c1-12)
	KERNELSRC=$KERNELDIR/src
	OUT=$WORK/$SERIES-$FLAVOUR
	COMPILER=(CC=x86_64-linux-gnu-gcc-14)
	if [ -n "$SANITIZER" ]; then
		KERNELDIR=$CACHE/linux-$SERIES-$SANITIZER-$(cat "$TOP/qemu/make-debug-kernel.sh" "$TOP/qemu/machine.fragment" \
			"$TOP/qemu/$SANITIZER.config" \
			"$KERNELDIR/version" "$ROOT/.made" 2>/dev/null | sha256sum | cut -c1-12)
		OUT=$WORK/$SERIES-$SANITIZER
		COMPILER=(LLVM=-19)
	fi
}
