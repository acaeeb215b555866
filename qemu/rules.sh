#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Checks docs/rules.md, the table of rules and their tests, against the results of the last full run of the tests.
. "$(dirname "$0")/lib.sh"

usage() {
	cat <<-END
	Usage: rules.sh [TABLE]

	Fails when in TABLE (docs/rules.md) a rule has no test, a number is there twice, there are fewer than $LEAST rules, or a
	test that is named does not exist, has not run, was skipped or has failed. What ran is read from the logs of
	'make test': $LOGS/test, timing, reload, sanitize and host-tests.log; with KERNEL= there is no kernel with sanitizers.
	Selftests that no rule names are listed, which is no failure.
	END
}

LEAST=150
case ${1:-} in
-h | --help)
	usage
	exit 0
	;;
esac
table=${1:-$TOP/docs/rules.md}
[ -f "$table" ] || die "there is no table $table"
for log in test timing reload host-tests.log; do
	[ -s "$LOGS/$log" ] || die "$LOGS/$log is not there: 'make test' writes it"
done

# Every line of this is "exists TEST" or "ran WHERE TEST OUTCOME", with host tests as CRATE:TEST.
facts() {
	# The lists of names that the selftests are run from.
	local file subject
	for file in "$TOP"/selftests/src/tests/*.rs; do
		subject=$(basename "$file" .rs)
		awk -v subject="$subject" '
			/^(super::)?(tests|timed)! *\{/ { on = 1; timed = /timed!/; sub(/.*\{/, "") }
			on {
				last = /\}/
				sub(/\}.*/, "")
				for (n = 1; n <= NF; n++) print timed ? "timed" : "exists", subject "::" $n
				if (last) on = 0
			}' "$file"
	done
	grep -o 'reload::[a-z0-9_]*' "$TOP/qemu/init" | sort -u | sed 's/^/exists /'
	# Of a host test only the function is looked for, in whatever file: its path is what cargo prints.
	find "$TOP" -name '*.rs' ! -path '*/target/*' -exec grep -hoE '^ *fn [a-z0-9_]+' {} + | awk '{ print "function", $2 }'

	awk '
		/^# form / { form = $3 }
		/^(not )?ok [0-9]/ {
			outcome = $1 == "not" ? "failed" : /# SKIP/ ? "skipped" : "ok"
			print "ran", form, $1 == "not" ? $4 : $3, outcome
		}' "$LOGS/test"
	awk '
		/^(not )?ok [0-9]/ {
			outcome = $1 == "not" ? "failed" : /# SKIP/ ? "skipped" : "ok"
			print "ran", "timing", $1 == "not" ? $4 : $3, outcome
		}' "$LOGS/timing"
	[ ! -s "$LOGS/sanitize" ] || awk '
		/^(not )?ok [0-9]/ {
			outcome = $1 == "not" ? "failed" : /# SKIP/ ? "skipped" : "ok"
			print "ran", "sanitize", $1 == "not" ? $4 : $3, outcome
		}' "$LOGS/sanitize"
	awk '/^(not )?ok [0-9]/ { print "ran", "reload", $1 == "not" ? $4 : $3, $1 == "not" ? "failed" : "ok" }' "$LOGS/reload"
	# The crate is in the name of the program, a file of tests in the path of its source.
	awk '
		/^ *Running / {
			file = ""
			if ($2 == "unittests") {
				crate = $4
				sub(/.*\/deps\//, "", crate)
				sub(/-[0-9a-f]*\)?$/, "", crate)
				sub(/^kbus_/, "", crate)
			} else if (split($2, path, "/") > 2) {
				# A folder of tests is a program of its own, and its name does for the crate.
				crate = path[2]
			} else {
				file = $2
				sub(/^.*\//, "", file)
				sub(/\.rs$/, "", file)
				file = file "::"
			}
		}
		/^ *Doc-tests / { crate = "doc"; file = "" }
		/^test .* \.\.\. / {
			outcome = $NF == "ok" ? "ok" : /\.\.\. ignored/ ? "skipped" : "failed"
			print "ran", "host", crate ":" file $2, outcome
		}' "$LOGS/host-tests.log"
}

facts >"$WORK/facts"
awk -v least="$LEAST" -v sanitized="$([ -n "${KERNEL:-}" ] || echo 1)" '
	function bad(text) { print "rules: " text; failures++ }
	# Judges one run of a test, in one form of socket() or another place.
	function judge(id, test, place, where,   outcome) {
		outcome = ran[place, test]
		if (outcome == "") bad(id ": " test " did not run" where)
		else if (outcome != "ok") bad(id ": " test " " (outcome == "skipped" ? "was " : "") outcome where)
	}
	function check(id, test,   key, name) {
		if (test in seen) return
		seen[test] = 1
		named++
		if (test ~ /^sanitize: [a-z0-9_]+::[a-z0-9_]+$/) {
			name = test
			sub(/^sanitize: /, "", name)
			shown[name] = 1
			if (!(name in exists)) bad(id ": there is no test " test)
			else if (sanitized) judge(id, name, "sanitize", " on the kernel with sanitizers")
		} else if (test ~ /^[a-z]+: [a-z0-9_]+(::[a-z0-9_]+)*$/) {
			key = test
			sub(/: /, ":", key)
			name = test
			sub(/.*[: ]/, "", name)
			if (!(name in functions)) bad(id ": there is no test " test)
			else judge(id, key, "host", "")
		} else if (test !~ /^[a-z0-9_]+::[a-z0-9_]+$/)
			bad(id ": " test " is not the name of a test")
		else if (!(test in exists))
			bad(id ": there is no test " test)
		else if (test ~ /^reload::/)
			judge(id, test, "reload", "")
		else if (test in timed)
			judge(id, test, "timing", " where the clock counts instructions")
		else {
			judge(id, test, "literal", " in the form literal")
			judge(id, test, "family", " in the form family")
		}
	}
	# Checks all tests named in a cell and returns how many there are.
	function cell(id, text,   count) {
		while (match(text, /`[^`]*`/)) {
			check(id, substr(text, RSTART + 1, RLENGTH - 2))
			text = substr(text, RSTART + RLENGTH)
			count++
		}
		if (text ~ /[a-z]/) bad(id ": \"" text "\" in the column of tests is not in backquotes")
		return count + 0
	}

	FILENAME == ARGV[1] && $1 == "exists" { exists[$2] = 1; next }
	FILENAME == ARGV[1] && $1 == "timed" { exists[$2] = timed[$2] = 1; next }
	FILENAME == ARGV[1] && $1 == "function" { functions[$2] = 1; next }
	# A test that ran twice has failed if it failed once.
	FILENAME == ARGV[1] {
		if (ran[$2, $3] == "" || $4 != "ok") ran[$2, $3] = $4
		next
	}

	/^## / { later = /^## Not built yet/; section = $2; sub(/:.*/, "", section) }
	!/^\|/ || /^\|-/ || /^\| *(rule|what) *\|/ { next }
	{
		columns = split($0, part, / *\| */) - 2
		if (columns != 3) { bad("line " FNR ": " columns " columns instead of 3"); next }
	}
	later { cell("not built yet", part[4]); next }
	part[2] !~ /^[A-Z]+[0-9]+$/ { bad("line " FNR ": \"" part[2] "\" is not the number of a rule"); next }
	{
		id = part[2]
		letters = id
		sub(/[0-9]+$/, "", letters)
		if (letters != section) bad(id ": in the section " section)
		if (id in ids) bad(id ": this number is there twice")
		ids[id] = 1
		rules++
		if (part[3] == "") bad(id ": says nothing")
		if (cell(id, part[4]) == 0) bad(id ": has no test")
	}
	END {
		if (rules < least) bad(rules + 0 " rules, and there should be " least)
		for (test in exists) if (test !~ /^reload::/ && !(test in seen) && !(test in shown)) { unnamed++; list = list " " test }
		if (failures) { print "rules: " failures " faults"; exit 1 }
		print "rules: " rules " rules, " named " tests named, all ran"
		if (unnamed) print "note: " unnamed " selftests are named by no rule:" list
	}' "$WORK/facts" "$table"
