#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Gets everything that building and testing needs: the build root, then one kernel. What is there already is kept.
. "$(dirname "$0")/lib.sh"

need mmdebstrap mmdebstrap flock util-linux \
	/usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring
lock_cache

if [ ! -e "$ROOT/.made" ]; then
	say "Preparing the build root (once): $ROOT"
	# shellcheck disable=SC2046
	step "build root" "1-2 min, 1.9 GB" bash "$TOP/qemu/make-root.sh" "$ROOT" $(grep -v '^#' "$TOP/qemu/packages" | xargs)
fi
more=$(grep -v '^#' "$TOP/qemu/packages.userland" | xargs)
if [ ! -e "$ROOT/.userland-$(slug "$more")" ]; then
	# shellcheck disable=SC2086
	step "more packages" "1 min" in_root sh -euc 'apt-get update; apt-get install -y --no-install-recommends "$@"' sh $more
	touch "$ROOT/.userland-$(slug "$more")"
fi
choose_kernel
stock=$(dirname "$KERNELSRC")
for part in "fetch:1 min, 180 MB" "unpack:1 min" "prepare:3 min"; do
	name=${part%%:*}
	[ ! -e "$stock/.$name" ] || continue
	step "Debian kernel $SERIES: $name" "${part#*:}" \
		in_root bash qemu/make-kernel.sh "$name" "$stock" "$SERIES" "$FLAVOUR"
done
# Its name depends on the version that was fetched.
choose_kernel
[ -n "$SANITIZER" ] || exit 0
mkdir -p "$KERNELDIR"
cat "$TOP/qemu/machine.fragment" "$TOP/qemu/$SANITIZER.config" >"$KERNELDIR/fragment"
for part in "configure:1 min" "build:20 min"; do
	name=${part%%:*}
	[ ! -e "$KERNELDIR/.$name" ] || continue
	step "kernel with sanitizers ($SANITIZER): $name" "${part#*:}" \
		in_root bash qemu/make-debug-kernel.sh "$name" "$KERNELDIR" "$KERNELSRC" "$KERNELDIR/fragment"
done
