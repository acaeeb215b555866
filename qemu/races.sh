#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Of the data races that KCSAN has told of on a console, prints those that concern the module: a function of ours is in one of the
# stacks, and none of qemu/races.known is between it and the access. Last line, on the standard error: how many there were of which kind.
# Usage: races.sh CONSOLE
set -euo pipefail

known=$(dirname "$0")/races.known
awk -v file="$known" '
	BEGIN {
		while ((getline line < file) > 0)
			if (line != "" && line !~ /^#/)
				known_to_be_theirs[line]
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
	function judge(   i, n, lines, name, beyond, is_ours) {
		if (text !~ /\[kbus\]/) {
			others++
			return
		}
		n = split(text, lines, "\n")
		for (i = 1; i <= n; i++) {
			name = lines[i]
			sub(/^ */, "", name)
			sub(/[+ ].*/, "", name)
			if (name == "")
				beyond = 0
			else if (name in known_to_be_theirs)
				beyond = 1
			else if (lines[i] ~ /^ .*\[kbus\]/ && !beyond)
				is_ours = 1
		}
		if (is_ours) {
			ours++
			printf "%s", text
		} else
			known++
	}
	END { printf "races: %d of the module, %d known, %d of the kernel alone\n", ours, known, others >"/dev/stderr" }
' "$1"
