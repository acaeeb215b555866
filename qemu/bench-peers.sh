#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Measures what else passes messages (D-Bus, ZeroMQ, MQTT, …, of Debian's packages) beside a bus, in one boot of the machine
# whose clock counts instructions, and prints tables. Usage: bench-peers.sh [PROGRAM,...] as in "kbus,libdbus": see
# qemu/peers/, where each is a file. UPDATE=1 puts the tables of a whole run in docs/performance.md, and plots in docs/plots/.
. "$(dirname "$0")/lib.sh"

args=${1:-}
[ -z "${UPDATE:-}" ] || [ -z "$args" ] || die "UPDATE=1 is for a whole run"
for program in ${args//,/ }; do
	[ "$program" != bench ] && [ -e "$TOP/qemu/peers/$program.c" ] || die "there is no qemu/peers/$program.c"
done
choose_kernel
[ -z "$SANITIZER" ] || die "the modules of TIPC are of Debian's kernel: not with KERNEL=$KERNEL"
version=$(<"$KERNELDIR/version")

# The packages, kept for all checkouts; keyed by all that makes them, the kernel whose modules are among them included.
packages="$(grep -v '^#' "$TOP/qemu/peers/packages" | xargs) linux-modules-$version-$FLAVOUR"
root=$CACHE/peers-$(cat - "$TOP/qemu/peers/make-root.sh" <<<"$packages" | sha256sum | cut -c1-12)
if [ ! -e "$root" ]; then
	# One at a time: a second run waits.
	exec 8>"$root.lock"
	flock 8
	# shellcheck disable=SC2086
	[ -e "$root" ] || step "packages of peers" "1 min, 50 MB" bash "$TOP/qemu/peers/make-root.sh" "$root" $packages ||
		die "Debian's packages cannot be had: see above which one. They come from ${DEBIAN_MIRROR:-http://deb.debian.org}"
fi
bash "$TOP/qemu/image.sh"
step "programs of peers" "3 s" in_root bash qemu/peers/build.sh "$root" "$OUT/peers.cpio"

say "Booting Linux $version, unmodified, to count instructions (about 1 min)"
result=$LOGS/bench-peers
bash "$TOP/qemu/boot.sh" "$result" peers "$args" | { grep --line-buffered '^# ' || :; } >&2
grep -q '^# exit 0$' "$result" || die "not all could be measured: see above"
{
	echo "Linux $version, $("${EMULATOR[@]}" --version | sed -n 's/^\(QEMU emulator version [^ ]*\).*/\1/p'), $(date -u +%F)."
	in_root python3 qemu/peers/tables.py "$result" "$root/packages"
} >"$result.md"
cat "$result.md"
if [ -n "${UPDATE:-}" ]; then
	bash "$TOP/qemu/page.sh" bench-peers "$result.md"
fi
