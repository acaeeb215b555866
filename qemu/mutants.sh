#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Mutation test of net/core/: cargo-mutants breaks one thing at a time, and each time some host test has to fail.
# Usage: mutants.sh [FILE], one file of net/core/, or all. Runs with the host's cargo, as cargo-mutants needs a newer
# one than the build root's.
. "$(dirname "$0")/lib.sh"

file=${1:-}
out=$WORK/mutants
cd "$TOP"
command -v cargo-mutants >/dev/null || die "cargo-mutants is missing: cargo install cargo-mutants --locked"
[ -z "$file" ] || [ -f "net/core/$file" ] || die "there is no net/core/$file"

# What is left out must be there to be left out.
cargo mutants --no-config --list -p kbus-core >"$WORK/mutants.list"
while read -r line; do
	grep -qP -- "$line" "$WORK/mutants.list" || die ".cargo/mutants.toml leaves out what there is not: $line"
done < <(sed -n "s/^  '\(.*\)',\$/\1/p" .cargo/mutants.toml)

# The same programs for each mutant, and no search for shorter ones. A mutant that makes a loop endless runs into the
# time limit, which counts as caught.
export N=100000 SEED=3 PROPTEST_RNG_SEED=3 SHRINK=0 PROPTEST_MAX_SHRINK_ITERS=0
mkdir -p "$out"
rc=0
cargo mutants -p kbus-core --jobs 2 --timeout 30 --colors never --output "$out" ${file:+--file "net/core/$file"} || rc=$?
count() { wc -l <"$out/mutants.out/$1.txt"; }
# 2: some were missed, 3: some ran out of time; all else is a failure of another kind.
[ "$rc" -eq 0 ] || [ "$rc" -eq 2 ] || [ "$rc" -eq 3 ] || die "cargo mutants failed ($rc)"
echo "$(($(count caught) + $(count timeout))) mutants caught ($(count timeout) of them by the time limit), $(count missed) missed, $(count unviable) do not compile"
[ "$(count missed)" -eq 0 ]
