#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Holds some figures of the benchmark against those that are recorded in qemu/bench.recorded: none may be more than 3 % over. UPDATE=1
# records those of now, for a change that is meant. Figures of another kernel or emulator are not compared: those of AF_UNIX change
# with these, too.
. "$(dirname "$0")/lib.sh"

choose_kernel
recorded=$TOP/qemu/bench.recorded
result=$LOGS/bench-quick
bash "$TOP/qemu/image.sh"
bash "$TOP/qemu/boot.sh" "$result" bench quick >/dev/null
{
	echo "# Linux $(<"$KERNELDIR/version"), $("${EMULATOR[@]}" --version | sed -n 's/^\(QEMU emulator version [^ ]*\).*/\1/p')"
	sed -n 's/^figure //p' "$result"
} >"$result.now"
if [ -n "${UPDATE:-}" ]; then
	cp "$result.now" "$recorded"
	say "qemu/bench.recorded has these figures now"
	cat "$recorded"
	exit
fi
if [ "$(head -n 1 "$result.now")" != "$(head -n 1 "$recorded")" ]; then
	echo "not compared: recorded on $(head -n 1 "$recorded"), this is $(head -n 1 "$result.now")"
	exit
fi
awk -F ': ' '
	/^#/ { next }
	NR == FNR { was[$1] = $2; next }
	{
		seen[$1] = 1
		more = was[$1] ? ($2 / was[$1] - 1) * 100 : 0
		word = !($1 in was) ? "not recorded" : more > 3 ? "SLOWER" : more < -3 ? "faster: record it" : ""
		printf "%-32s %8d %8d %+6.1f %%  %s\n", $1, was[$1], $2, more, word
		bad += word == "SLOWER" || word == "not recorded"
	}
	END {
		for (name in was)
			if (!(name in seen)) {
				print name ": not measured"
				bad++
			}
		if (bad)
			print "if that is meant: make bench-quick UPDATE=1"
		exit bad > 0
	}' "$recorded" "$result.now"
