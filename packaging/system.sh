#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Installs the packages in Debian's own system, with systemd and the stock kernel, which is booted three times in the emulator
# (system/trial says what is tried). packaging/build.sh must have run, and again with +next.
# Usage: system.sh RESULT, where RESULT gets the results, which also go to the standard output, and RESULT.console the console.
# Exit status: 0 when the last start reached its end, and the kernel had no complaint, whatever the results say.
. "$(dirname "$0")/../qemu/lib.sh"

result=$1
choose_kernel
[ -z "$SANITIZER" ] || die "packages are of Debian's own kernels"
kver=$(<"$KERNELDIR/version")-$FLAVOUR
base=$CACHE/system-$(cat "$TOP"/packaging/system/{make.sh,trial.service,trial.target} "$KERNELDIR/version" | sha256sum | cut -c1-12)
run=$WORK/system
# Where the machine hangs.
limit=${KBUS_VM_SECONDS:-3600}

# Debian's system on a disc image: kept.
make_base() {
	bash "$TOP/packaging/system/make.sh" "$base.tar" "$kver"
	in_root sh -euc 'rm -f "$1.partial"
		mke2fs -q -t ext4 -d "$1.tar" "$1.partial" 1500M
		rm "$1.tar"
		mv "$1.partial" "$1.ext4"' sh "$base"
}

# A second disc: two repositories for apt, and what is to be done.
make_trial() {
	local which from
	rm -rf "$run/trial"
	mkdir -p "$run/trial"/{first,next}
	cp "$TOP/packaging/system/trial" "$run/trial/"
	for which in first next; do
		from=$WORK/packages
		[ $which = first ] || from+=+next
		cp "$from"/*.deb "$run/trial/$which/"
		dpkg_version "$from" >"$run/trial/$which/version"
		in_root sh -euc 'cd "$1"; dpkg-scanpackages -m . >Packages' sh "$run/trial/$which"
	done
	in_root sh -euc 'rm -f "$2"; mke2fs -q -t ext4 -d "$1" "$2" 64M' sh "$run/trial" "$run/trial.ext4"
	cp --sparse=always "$base.ext4" "$run/system.ext4"
}

dpkg_version() { in_root sh -euc 'dpkg-deb -f "$1"/kbus-tools_*.deb Version' sh "$1"; }

mkdir -p "$run"
need mmdebstrap mmdebstrap /usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring
[ -e "$base.ext4" ] || step "Debian's own system" "2 min, 100 MB" make_base
step "discs of the system" "5 s" make_trial

# One thread: loading and unloading the module arms and disarms a probe (see qemu/boot.sh).
accel=(-accel "tcg,thread=single" -cpu max)
if [ -w /dev/kvm ] && grep -qE '^flags.* (vmx|svm)( |$)' /proc/cpuinfo; then
	accel=(-accel kvm -cpu host)
fi
# The stock kernel has NVMe and ext4 built in, so it finds this disc without an initramfs. Restarting ends the emulator,
# which is then started again with the same disc.
qemu=("${EMULATOR[@]}" -M q35 "${accel[@]}" -smp 2 -m 1024 -nodefaults -no-reboot -display none -kernel "$KERNELDIR/vmlinuz"
	-drive "if=none,id=system,format=raw,file=$run/system.ext4" -device nvme,serial=system,drive=system
	-drive "if=none,id=trial,format=raw,readonly=on,file=$run/trial.ext4" -device virtio-blk-pci,drive=trial
	-append "root=/dev/nvme0n1 rw rootwait console=ttyS0 loglevel=7 panic=-1 oops=panic panic_on_warn=1 no_timer_check")

: >"$result"
: >"$result.console"
start=$SECONDS
boot=1 tries=1
while [ $boot -le 3 ]; do
	: >"$result.$boot"
	"${qemu[@]}" -serial "file:$result.console.$boot" -serial "file:$result.$boot" </dev/null &
	pid=$!
	# shellcheck disable=SC2064
	trap "kill $pid 2>/dev/null || :" EXIT
	tail -n +1 -f --pid=$pid -s 0.2 "$result.$boot" | stdbuf -oL tr -d '\r' &
	while kill -0 $pid 2>/dev/null; do
		if [ $((SECONDS - start)) -ge "$limit" ]; then
			kill $pid
			tail -n 40 "$result.console.$boot" >&2
			die "the machine was still running after $limit s"
		fi
		sleep 0.5
	done
	wait $pid || :
	# As qemu/boot.sh says, an emulated machine sometimes dies early. The disc is as it was then.
	if ! grep -q 'systemd\[1\]' "$result.console.$boot" && [ $tries -lt 3 ]; then
		say "The kernel has not come as far as the first program (try $tries)"
		tries=$((tries + 1))
		continue
	fi
	tr -d '\r' <"$result.$boot" >>"$result"
	tr -d '\r' <"$result.console.$boot" >>"$result.console"
	rm -f "$result.$boot" "$result.console.$boot"
	[ "$(grep -cE '^# (restarts|end)$' "$result")" -eq $boot ] || {
		tail -n 40 "$result.console" >&2
		die "the machine stopped before the end of start $boot; its console is $result.console"
	}
	boot=$((boot + 1)) tries=1
done
rm -f "$run/system.ext4"
if grep -nE 'BUG:|WARNING:|Oops|general protection|Kernel panic|kernel BUG|INFO: task .* blocked|rcu.*stall|refcount_t:' "$result.console" >&2; then
	die "the kernel complained; its console is $result.console"
fi
grep -q '^# unloaded$' "$result" || die "the module is still loaded"
