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
	/^={40,}$/ {
		if (inside && text ~ /BUG: KCSAN:/) {
			if (text !~ /\[kbus\]/)
				others++
			else if (is_known())
				tolerated++
			else {
				ours++
				printf "%s", text
			}
		}
		inside = !inside
		text = ""
		next
	}
	inside { text = text $0 "\n" }
	function is_known(   i) {
		for (i = 1; i <= races; i++)
			if (index(text, "BUG: KCSAN: " race[i] "\n"))
				return 1
		return 0
	}
	END { printf "races: %d of the module, %d known, %d of the kernel alone\n", ours, tolerated, others >"/dev/stderr" }
' "$1"
