#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Every test there is: host tests, the module without warnings, lints, and the selftests in the machine, in both
# socket() forms. The last line is "N passed, N failed". Usage: test.sh [NAME], which runs only the tests of that name.
. "$(dirname "$0")/lib.sh"

only=${1:-}
passed=0 failed=0
choose_kernel

# check NAME "how long" COMMAND...: a command that counts as one test.
check() {
	if step "$@"; then
		passed=$((passed + 1))
		say "ok   $1"
	else
		failed=$((failed + 1))
		say "FAIL $1"
	fi
}

module_without_warnings() {
	bash "$TOP/qemu/module.sh" W=1 >"$WORK/module.out" 2>&1 || { cat "$WORK/module.out"; return 1; }
	! grep -A12 -E '(warning|error)(\[|:)' "$WORK/module.out"
}

host_tests() {
	in_root env CARGO_TARGET_DIR="$WORK/target" cargo test --locked --workspace --no-fail-fast ${only:+"$only"}
}

# One line of libtest's for each crate: "test result: ok. 12 passed; 0 failed; ...".
count_host_tests() {
	local log=$LOGS/host-tests.log
	passed=$((passed + $(awk '/^test result:/ { n += $4 } END { print n + 0 }' "$log")))
	failed=$((failed + $(awk '/^test result:/ { n += $6 } END { print n + 0 }' "$log")))
}

say "Host tests"
if ! step "host tests" "1-2 min, later 30 s" host_tests && ! grep -q '^test result: FAILED' "$LOGS/host-tests.log"; then
	failed=$((failed + 1))
fi
count_host_tests

if [ -z "$only" ]; then
	say "Module and lints"
	check "module without warnings" "30 s" module_without_warnings
	for lint in rustfmt clippy checkpatch sparse shell; do
		check "lint $lint" "20 s" bash "$TOP/qemu/lint.sh" "$lint"
	done
fi

say "Selftests on Linux $(<"$KERNELDIR/version"), unmodified"
bash "$TOP/qemu/image.sh"
# boot RUN PLANS [NAME]: boots once and counts the results, of which there must be as many as were announced (1..N).
boot() {
	local run=$1 plans=$2 result=$LOGS/$1 planned reported
	bash "$TOP/qemu/boot.sh" "$result" "$run" "${3:-}" || failed=$((failed + 1))
	passed=$((passed + $(grep -E '^ok ' "$result" | grep -cv '# SKIP' || :)))
	failed=$((failed + $(grep -cE '^not ok ' "$result" || :)))
	# What has no result is a failure too: of a program that crashed, or is missing.
	planned=$(($(sed -n 's/^1\.\.\([0-9]*\)$/\1/p' "$result" | paste -sd+ | grep . || echo 0)))
	reported=$(grep -cE '^(not )?ok ' "$result" || :)
	if [ "$(grep -cE '^1\.\.[0-9]+$' "$result")" -ne "$plans" ] || [ "$planned" -ne "$reported" ]; then
		say "FAIL $run: $planned results announced, $reported given"
		failed=$((failed + 1))
	fi
}

boot test 2 "$only"
if [ -z "$only" ]; then
	boot reload 1
	check "rule table" "1 s" bash "$TOP/qemu/rules.sh"
	say "     $(grep '^rules: ' "$LOGS/rule-table.log" | tail -n 1)"
fi

# The same tests, in one form, on a kernel that finds what others overlook; leaks are looked for in a boot of their own.
if [ -z "$only" ] && [ -z "${KERNEL:-}" ]; then
	say "Selftests on a kernel with sanitizers (qemu/debug.config)"
	export KERNEL=debug
	bash "$TOP/qemu/bootstrap.sh"
	bash "$TOP/qemu/image.sh"
	boot sanitize 1
	leaky=(guarantee events rights paths)
	boot leaks ${#leaky[@]} "$(IFS=,; echo "${leaky[*]}")"
fi

# A run that tested nothing has not passed.
[ $((passed + failed)) -gt 0 ] || die "no test of the name '$only'"
[ "$failed" -eq 0 ] || say "The logs are in $LOGS"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
