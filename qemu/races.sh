#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Of the data races that KCSAN has told of on a console, prints those that concern the module: a function of ours is in one of the
# stacks, and the race is not one of qemu/races.known. Last line, on the standard error: how many there were of which kind.
# Usage: races.sh CONSOLE
set -euo pipefail

known=$(dirname "$0")/races.known
awk -v known="$known" '
	BEGIN {
		while ((getline line < known) > 0)
			if (line != "" && line !~ /^#/)
				race[++races] = line
	}
	{ sub(/^\[ *[0-9.]+\](\[ *[A-Z][0-9]+\])? /, "") }
	/^==================+$/ {
		# The console has each line twice, the second time from the buffer of the kernel.
		if (inside && text ~ /BUG: KCSAN:/ && !seen[text]++)
			judge()
		inside = !inside
		text = ""
		next
	}
	inside { text = text $0 "\n" }
	function judge(   i) {
		if (text !~ /\[kbus\]/) {
			others++
			return
		}
		for (i = 1; i <= races; i++)
			if (index(text, "BUG: KCSAN: " race[i] "\n")) {
				tolerated++
				return
			}
		ours++
		printf "%s", text
	}
	END { printf "races: %d of the module, %d known, %d of the kernel alone\n", ours, tolerated, others >"/dev/stderr" }
' "$1"
