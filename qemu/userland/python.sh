#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The Python package and its tests. Runs inside the build root.
# Usage: python.sh OUTPUT TARGET-DIRECTORY
set -euo pipefail
out=$1 target=$2

# Of two minutes in an emulated machine one is for what is compiled there: do it here.
mkdir -p "$out/python" "$target"
cp -r lib/python/kbus "$out/python/"
cp -r lib/python/tests "$out/python/tests"
cp lib/python/README.md "$out/python/"
find "$out/python" -name __pycache__ -prune -exec rm -r {} +
(cd lib/python && MYPYPATH=tests mypy --strict --cache-dir "$target/mypy" --no-error-summary kbus tests)
# The programs of the README. Its examples with prompts are run in the machine.
rm -rf "$target/readme"
mkdir -p "$target/readme"
awk -v to="$target/readme/example" '/^```python$/ { n++; on = 1; next } /^```$/ { on = 0 } on { print > (to n ".py") }' \
	lib/python/README.md
for program in "$target"/readme/*.py; do
	grep -q '^>>>' "$program" ||
		MYPYPATH=lib/python mypy --strict --cache-dir "$target/mypy" --no-error-summary "$program"
done
python3 -m compileall -q --invalidation-mode unchecked-hash -s "$out" -p /userland "$out/python"
cat >"$out/python.test" <<-END
	#!/bin/sh
	PYTHONPATH=/userland/python exec python3 /userland/python/tests/run.py
END
cat >"$out/peer-python" <<-END
	#!/bin/sh
	PYTHONPATH=/userland/python exec python3 /userland/python/tests/peer.py "\$@"
END
chmod +x "$out/python.test" "$out/peer-python"
