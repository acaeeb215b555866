#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The machine of "make shell" is as README.md and docs/tutorial.md say: the command and the Python library are found at the
# first prompt, the tutorial's programs are there, and "make terminal" joins the same machine. Usage: try-shell.sh
. "$(dirname "$0")/lib.sh"

# Not those of a machine that somebody uses meanwhile.
KBUS_SHELL=$(mktemp -d "$WORK/try-shell.XXXXXX")
export KBUS_SHELL
mkfifo "$KBUS_SHELL/typed" "$KBUS_SHELL/typed2"
trap 'kill "$machine" "${second:-$machine}" 2>/dev/null || :; rm -rf "$KBUS_SHELL"' EXIT

# appears FILE REGULAR-EXPRESSION: waits until a terminal shows it.
appears() {
	local end=$((SECONDS + 120))
	until grep -qE "$2" "$1"; do
		if [ "$SECONDS" -ge "$end" ] || ! kill -0 "$machine" 2>/dev/null; then
			tail -n 40 "$1" >&2
			die "this does not appear: $2"
		fi
		sleep 0.2
	done
}

bash "$TOP/qemu/boot.sh" /dev/null shell <"$KBUS_SHELL/typed" >"$KBUS_SHELL/shown" 2>&1 &
machine=$!
exec 5>"$KBUS_SHELL/typed"
appears "$KBUS_SHELL/shown" '^~ # '
! grep -E 'error|not found|^\[ ' "$KBUS_SHELL/shown" || die "the machine complains before the first prompt"

bash "$TOP/qemu/terminal.sh" <"$KBUS_SHELL/typed2" >"$KBUS_SHELL/shown2" 2>&1 &
second=$!
exec 6>"$KBUS_SHELL/typed2"
# An answer is looked for, and not what was typed: the terminal shows both.
printf '\r' >&6
appears "$KBUS_SHELL/shown2" '^~ # '
# shellcheck disable=SC2016
printf 'kbus --color never listen '\''$.Sensors.*'\''\r' >&6
appears "$KBUS_SHELL/shown2" 'listening on @kbus-0'
# shellcheck disable=SC2016
printf 'kbus send '\''$.Sensors.Kitchen'\'' '\''21 C'\''\r' >&5
appears "$KBUS_SHELL/shown2" 'announcement from .* 4 bytes: 21 C'
printf '\003' >&6
appears "$KBUS_SHELL/shown2" '1 message, 0 lost'
# shellcheck disable=SC2016
printf 'python3 shout.py & ./shout-rust & ./shout-c & kbus wait '\''$.Shout.Python'\'' '\''$.Shout.Rust'\'' '\''$.Shout.C'\'' && for l in Python Rust C; do kbus call "\\$.Shout.$l" "from $l"; echo; done\r' >&5
appears "$KBUS_SHELL/shown" '^FROM PYTHON!'
appears "$KBUS_SHELL/shown" '^FROM RUST!'
appears "$KBUS_SHELL/shown" '^FROM C!'
printf 'poweroff -f\r' >&5
wait "$machine"
say "the shell and its second terminal are as the pages say"
