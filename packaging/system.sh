#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Installs the packages in Debian's own system, with systemd and the stock kernel, which is booted some times in the emulator.
# packaging/build.sh must have run, and again with +next; for trial-dkms, try.sh too.
# Usage: system.sh RESULT [TRIAL], where RESULT gets the results, which also go to the standard output, and RESULT.console the
# console. TRIAL is a file of system/, which says what is tried: trial, with the module prebuilt, or trial-dkms.
# Exit status: 0 when the last start reached its end, and the kernel had no complaint, whatever the results say.
. "$(dirname "$0")/../qemu/lib.sh"

result=$1
trial=${2:-trial}
choose_kernel
[ -z "$SANITIZER" ] || die "packages are of Debian's own kernels"
kver=$(<"$KERNELDIR/version")-$FLAVOUR
run=$WORK/system-$trial
# How many times it is started; memory in megabytes; sizes of the discs; packages that are in the system before.
case $trial in
trial) starts=3 memory=1024 disc=1500M trial_disc=64M more=() ;;
trial-dkms)
	starts=2 memory=3072 disc=4G trial_disc=512M
	# All that kbus-dkms needs, without versions; and what DKMS makes a key with.
	read -ra more <<<"linux-headers-$kver openssl $(in_root dpkg-deb -f "$WORK"/packages/kbus-dkms_*.deb Depends | sed 's/([^)]*)//g' | tr -d ,)"
	[ -e "$WORK/dkms-cache" ] || die "packaging/try.sh must run first"
	;;
*) die "there is no $TOP/packaging/system/$trial" ;;
esac
base=$CACHE/system-$(cat "$TOP"/packaging/system/{make.sh,trial.service,trial.target} "$KERNELDIR/version" - <<<"${more[*]}" | sha256sum | cut -c1-12)
# Where the machine hangs.
limit=${KBUS_VM_SECONDS:-3600}

# Debian's system on a disc image: kept.
make_base() {
	bash "$TOP/packaging/system/make.sh" "$base.tar" "$kver" "${more[@]}"
	in_root sh -euc 'rm -f "$1.partial"
		mke2fs -q -t ext4 -d "$1.tar" "$1.partial" "$2"
		rm "$1.tar"
		mv "$1.partial" "$1.ext4"' sh "$base" "$disc"
}

# A second disc: two repositories for apt, and what is to be done.
make_trial() {
	local which from
	rm -rf "$run/trial"
	mkdir -p "$run/trial"/{first,next}
	cp "$TOP/packaging/system/common" "$run/trial/"
	cp "$TOP/packaging/system/$trial" "$run/trial/trial"
	[ "$trial" = trial ] || cp -a "$WORK/dkms-cache" "$run/trial/cache"
	for which in first next; do
		from=$WORK/packages
		[ $which = first ] || from+=+next
		cp "$from"/*.deb "$run/trial/$which/"
		dpkg_version "$from" >"$run/trial/$which/version"
		in_root sh -euc 'cd "$1"; dpkg-scanpackages -m . >Packages' sh "$run/trial/$which"
	done
	in_root sh -euc 'rm -f "$2"; mke2fs -q -t ext4 -d "$1" "$2" "$3"' sh "$run/trial" "$run/trial.ext4" "$trial_disc"
	rm -rf "$run/trial"
	cp --sparse=always "$base.ext4" "$run/system.ext4"
}

dpkg_version() { in_root sh -euc 'dpkg-deb -f "$1"/kbus-tools_*.deb Version' sh "$1"; }

mkdir -p "$run"
need mmdebstrap mmdebstrap /usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring
[ -e "$base.ext4" ] || step "Debian's own system, for $trial" "2 min, 100 MB; 8 min, 400 MB with compilers" make_base
step "discs of the system, for $trial" "5 s" make_trial

# One thread: loading and unloading the module arms and disarms a probe (see qemu/boot.sh).
accel=(-accel "tcg,thread=single" -cpu max)
if [ -w /dev/kvm ] && grep -qE '^flags.* (vmx|svm)( |$)' /proc/cpuinfo; then
	accel=(-accel kvm -cpu host)
fi
# The stock kernel has NVMe and ext4 built in, so it finds this disc without an initramfs. Restarting ends the emulator,
# which is then started again with the same disc.
qemu=("${EMULATOR[@]}" -M q35 "${accel[@]}" -smp 2 -m "$memory" -nodefaults -no-reboot -display none -kernel "$KERNELDIR/vmlinuz"
	-drive "if=none,id=system,format=raw,file=$run/system.ext4" -device nvme,serial=system,drive=system
	-drive "if=none,id=trial,format=raw,readonly=on,file=$run/trial.ext4" -device virtio-blk-pci,drive=trial
	-append "root=/dev/nvme0n1 rw rootwait console=ttyS0 loglevel=7 panic=-1 oops=panic panic_on_warn=1 no_timer_check")

: >"$result"
: >"$result.console"
start=$SECONDS
boot=1 tries=1
while [ $boot -le "$starts" ]; do
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
