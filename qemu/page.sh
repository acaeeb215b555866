#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Puts the tables of a run in docs/performance.md, between "<!-- make COMMAND -->" and "<!-- end -->", and draws what they
# hold in docs/plots/. Usage: page.sh COMMAND TABLES.md
. "$(dirname "$0")/lib.sh"

command=$1 tables=$2
page=$TOP/docs/performance.md
begin="^<!-- make $command -->\$"
grep -q "$begin" "$page" || die "docs/performance.md has no line <!-- make $command -->"
sed -e "/$begin/r $tables" -e "/$begin/,/^<!-- end -->\$/{/^<!--/!d}" "$page" >"$page.new"
mv "$page.new" "$page"
in_root python3 qemu/plots.py "$command" "$tables" docs/plots
say "docs/performance.md has these tables now, and docs/plots/ shows them"
