#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The long forms of tests, which take too long for every change. The last line is "N passed, N failed".
# Usage: deep.sh [STEP]...; all of them by default.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/results.sh"

# The fuzz targets on the host: how many seconds for each.
deep_fuzz_core() {
	local target
	for target in names addresses calls core; do
		check "fuzz $target" "${SECONDS_EACH:-600} s" bash "$TOP/qemu/fuzz.sh" "${SECONDS_EACH:-600}" "$target"
		say "     $(grep '^fuzz ' "$LOGS/fuzz-$target.log")"
	done
}

# with KERNEL COMMAND...: with that kernel and what is to run on it.
with() {
	local -x KERNEL=$1
	shift
	bash "$TOP/qemu/bootstrap.sh"
	bash "$TOP/qemu/image.sh"
	"$@"
}

# The module comes and goes under traffic: how many times.
deep_cycles() {
	with debug boot cycles 1 "40 min" "${CYCLES:-1000}"
}

# The search for leaks with more subjects than there is time for in 'make test'.
deep_leaks() {
	local leaky=(fail_nth_sockets fail_nth_sending fail_nth_reading fail_nth_several fail_nth_closing fail_nth_options claims maker budgets budgets_messages quotas)
	leaky+=(events_switching rights_receiving mounts)
	with debug boot leaks ${#leaky[@]} "10 min" "$(IFS=,; echo "${leaky[*]}")"
}

# The selftests under KCSAN, which finds data races.
deep_kcsan() {
	with kcsan boot sanitize 1 "1 h"
	say "     $(tail -n 1 "$LOGS/sanitize.verdict")"
}

# The packages: built, installed where DKMS builds the module, and lived with on Debian's own system.
deep_packages() {
	local rc=0
	bash "$TOP/qemu/bootstrap.sh"
	check "packages are built" "6 min" bash "$TOP/packaging/build.sh"
	check "packages to upgrade to" "2 min" bash "$TOP/packaging/build.sh" +next
	check "packages, module by DKMS" "7 min" bash "$TOP/packaging/try.sh"
	check "make install, make uninstall" "5 min" bash "$TOP/packaging/try-install.sh"
	bash "$TOP/packaging/system.sh" "$LOGS/system" | sed -u 's/^/system: /' || rc=$?
	echo "$rc" >"$LOGS/system.status"
	tally system 1
	rc=0
	bash "$TOP/packaging/system.sh" "$LOGS/system-dkms" trial-dkms | sed -u 's/^/system-dkms: /' || rc=$?
	echo "$rc" >"$LOGS/system-dkms.status"
	tally system-dkms 1
}

[ $# -gt 0 ] || set -- fuzz-core cycles leaks kcsan packages
for name; do
	declare -F "deep_${name//-/_}" >/dev/null || die "there is no step '$name'"
	say "Step $name"
	"deep_${name//-/_}"
done
finish "nothing was tested"
