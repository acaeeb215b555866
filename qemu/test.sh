#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Every test there is: host tests, the module without warnings, lints, and the selftests in the machine, in both
# socket() forms. The last line is "N passed, N failed". Usage: test.sh [NAME], which runs only the tests of that name.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/results.sh"

only=${1:-}
choose_kernel

module_without_warnings() {
	bash "$TOP/qemu/module.sh" W=1 >"$WORK/module.out" 2>&1 || { cat "$WORK/module.out"; return 1; }
	! grep -A12 -E '(warning|error)(\[|:)' "$WORK/module.out"
}

# Examples in documentation want a bus: they run in the machine.
host_tests() {
	in_root env CARGO_TARGET_DIR="$WORK/target" cargo test --locked --workspace --tests --no-fail-fast ${only:+"$only"}
}

# One line of libtest's for each crate: "test result: ok. 12 passed; 0 failed; ...".
count_host_tests() {
	local log=$LOGS/host-tests.log
	passed=$((passed + $(awk '/^test result:/ { n += $4 } END { print n + 0 }' "$log")))
	failed=$((failed + $(awk '/^test result:/ { n += $6 } END { print n + 0 }' "$log")))
}

say "Host tests"
if ! step "host tests" "5 min, later 1 min" host_tests && ! grep -q '^test result: FAILED' "$LOGS/host-tests.log"; then
	failed=$((failed + 1))
fi
count_host_tests

if [ -z "$only" ]; then
	usual="2 min, later 20 s"
	for target in names addresses calls core; do
		check "fuzz $target" "$usual" bash "$TOP/qemu/fuzz.sh" 15 "$target"
		say "     $(grep '^fuzz ' "$LOGS/fuzz-$target.log")"
		# The first has built all of them.
		usual="20 s"
	done
	say "Module and lints"
	check "module without warnings" "1 min, later 30 s" module_without_warnings
	check "stack frames" "5 s" in_root python3 qemu/frames.py "$OUT/src/kbus.ko" "$KERNELDIR/build/.config"
	for lint in rustfmt clippy doc checkpatch sparse shell pages; do
		check "lint $lint" "20 s" bash "$TOP/qemu/lint.sh" "$lint"
	done
fi

say "Selftests on Linux $(<"$KERNELDIR/version"), unmodified"
bash "$TOP/qemu/image.sh"
# Some names are those of tests of one kind only.
any() { [ -n "$(in_root "$WORK/programs/kbus-selftests" --list "$@" ${only:+"$only"})" ]; }
# Libraries and tools, beside the selftests: each of their test programs has a plan.
if [ -z "$only" ]; then
	run_boot userland "4 min" &
	lane=$!
fi
! any || boot test 2 "4 min" "$only"
if [ -z "$only" ]; then
	[ -n "$SANITIZER" ] || check "make shell" "30 s" bash "$TOP/qemu/try-shell.sh"
	wait "$lane"
	tally userland "$(find "$WORK/programs/userland" -name '*.test' | wc -l)"
fi

# Costs, in instructions. They are recorded on the kernel that is the default.
if [ -z "$only" ] && [ -z "${KERNEL:-}" ]; then
	check "bench-quick" "30 s" bash "$TOP/qemu/bench-quick.sh"
	sed -n '/ % /s/^/     /p; /not compared/s/^/     /p' "$LOGS/bench-quick.log" >&2
fi

# Boots that take one of the host's processors each: two lanes of them. What measures time counts instructions, so that
# the other lane changes no result.
stock=${KERNEL:-}
if [ -n "$only" ] || [ -n "$stock" ]; then
	[ -n "$SANITIZER" ] || ! any --timed || boot timing 1 "8 min" "$only"
	[ -n "$only" ] || boot reload 1 "2 min"
else
	say "Selftests where the clock counts instructions, and on a kernel with sanitizers (qemu/debug.config)"
	KERNEL=debug bash "$TOP/qemu/bootstrap.sh"
	KERNEL=debug bash "$TOP/qemu/image.sh"
	leaky=(guarantee events rights rights_in_flight paths namespaces credentials)
	# The same tests, in one form, on a kernel that finds what others overlook.
	KERNEL=debug run_boot sanitize "12 min" &
	lane=$!
	run_boot timing "8 min"
	run_boot reload "2 min"
	# Leaks are looked for in a boot of their own.
	KERNEL=debug run_boot cycles "2 min" 20
	KERNEL=debug run_boot leaks "5 min" "$(IFS=,; echo "${leaky[*]}")"
	wait "$lane"
	tally timing 1
	tally reload 1
	tally sanitize 2
	tally cycles 1
	tally leaks ${#leaky[@]}
	# Which of the fuzzer's programs reached what; choose_kernel has to know the kernel for that.
	export KERNEL=debug
	choose_kernel
	check "coverage" "5 s" in_root python3 qemu/coverage.py "$OUT/src/kbus.ko" "$LOGS/sanitize"
	say "     $(grep ' net/$' "$LOGS/coverage.log" | xargs)"
fi
if [ -z "$only" ]; then
	check "rule table" "1 s" env KERNEL="$stock" bash "$TOP/qemu/rules.sh"
	say "     $(grep '^rules: ' "$LOGS/rule-table.log" | tail -n 1)"
fi

finish "no test of the name '$only'"
