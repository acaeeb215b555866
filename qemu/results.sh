# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Counts what passed and what failed, for test.sh and deep.sh. After lib.sh.

passed=0 failed=0

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

# boot RUN PLANS "how long" [ARGS]: boots once and counts the results, of which there must be as many as were announced
# (1..N).
boot() {
	run_boot "$1" "$3" "${4:-}"
	tally "$1" "$2"
}

# run_boot RUN "how long" [ARGS]: only boots; it may do so in the background.
run_boot() {
	local run=$1 result=$LOGS/$1 name start=$SECONDS rc=0
	# Some tests only take another time.
	name="boot $run ${3:-}"
	say "  boot $run ($(usual "$name" "$2"))"
	bash "$TOP/qemu/boot.sh" "$result" "$run" "${3:-}" | sed -u "s/^/$run: /" || rc=$?
	echo "$rc" >"$result.status"
	took "$name" $((SECONDS - start))
	say "  boot $run: done in $((SECONDS - start))s"
}

# tally RUN PLANS: counts the results of a boot that has ended.
tally() {
	local run=$1 plans=$2 result=$LOGS/$1 planned reported
	[ "$(<"$result.status")" -eq 0 ] || failed=$((failed + 1))
	passed=$((passed + $(grep -E '^ok ' "$result" | grep -cv '# SKIP' || :)))
	failed=$((failed + $(grep -cE '^not ok ' "$result" || :)))
	# Some programs end badly after their last result.
	failed=$((failed + $(grep -cE '^# exit [1-9]' "$result" || :)))
	# What has no result is a failure too: of a program that crashed, or is missing.
	planned=$(($(sed -n 's/^1\.\.\([0-9]*\)$/\1/p' "$result" | paste -sd+ | grep . || echo 0)))
	reported=$(grep -cE '^(not )?ok ' "$result" || :)
	if [ "$(grep -cE '^1\.\.[0-9]+$' "$result")" -ne "$plans" ] || [ "$planned" -ne "$reported" ]; then
		say "FAIL $run: $planned results announced, $reported given"
		failed=$((failed + 1))
	fi
}

# finish WHAT: the last line, and the exit status. A run that tested nothing has not passed.
finish() {
	[ $((passed + failed)) -gt 0 ] || die "$1"
	[ "$failed" -eq 0 ] || say "The logs are in $LOGS"
	echo "$passed passed, $failed failed"
	[ "$failed" -eq 0 ]
}
