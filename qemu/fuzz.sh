#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Fuzzes the parsers, the bus and the module's system calls on the host (fuzz/), in the build root.
# Usage: fuzz.sh SECONDS [TARGET]... or fuzz.sh minimise [TARGET]..., which puts what new ways were found into fuzz/corpus/.
#
# What cargo-fuzz does, without it: it wants a newer compiler than the build root has. An input that fails is kept in
# the folder that is named.
. "$(dirname "$0")/lib.sh"

seconds=$1
shift
[ $# -gt 0 ] || set -- names addresses calls core
TARGET=$WORK/target
FOUND=$WORK/fuzz
flags=(-Cpasses=sancov-module -Ccodegen-units=1 --cfg fuzzing)
for option in level=4 inline-8bit-counters pc-table trace-compares; do
	flags+=("-Cllvm-args=-sanitizer-coverage-$option")
done

# Only what is told a target by name is instrumented, and no build script is.
build() {
	in_root env CARGO_TARGET_DIR="$TARGET" RUSTFLAGS="${flags[*]}" CXX=clang++-19 \
		cargo build --locked --release --manifest-path fuzz/Cargo.toml --target x86_64-unknown-linux-gnu --bins
}

# fuzz TARGET: begins with the corpus and what was found before; prints how many inputs were tried, and what they reached.
fuzz() {
	local new=$FOUND/$1 log=$FOUND/$1.log
	mkdir -p "$new"
	in_root "$TARGET/x86_64-unknown-linux-gnu/release/$1" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 \
		-print_final_stats=1 -artifact_prefix="$FOUND/$1-" "$new" "$TOP/fuzz/corpus/$1" >"$log" 2>&1 || {
		tail -n 60 "$log"
		return 1
	}
	awk -v name="$1" '
		match($0, / cov: [0-9]+/) { cov = substr($0, RSTART + 6, RLENGTH - 6) }
		match($0, / ft: [0-9]+/) { ft = substr($0, RSTART + 5, RLENGTH - 5) }
		/number_of_executed_units/ { runs = $2 }
		END { printf "fuzz %s: %d inputs, coverage %d, features %d\n", name, runs, cov, ft; exit !runs }
	' "$log"
}

# minimise TARGET: a small set of inputs that reaches all code that was reached.
minimise() {
	local corpus=$TOP/fuzz/corpus/$1
	rm -rf "$corpus.new"
	mkdir -p "$corpus.new" "$FOUND/$1"
	in_root "$TARGET/x86_64-unknown-linux-gnu/release/$1" -set_cover_merge=1 -use_counters=0 -max_len=4096 "$corpus.new" "$FOUND/$1" "$corpus"
	rm -rf "$corpus"
	mv "$corpus.new" "$corpus"
}

step "fuzz targets" "6 min, later 5 s" build
for target; do
	if [ "$seconds" = minimise ]; then
		step "minimise $target" "1 min" minimise "$target"
	else
		step "fuzz target $target" "$seconds s" fuzz "$target"
		say "$(grep '^fuzz ' "$LOGS/fuzz-target-$target.log")"
	fi
done
