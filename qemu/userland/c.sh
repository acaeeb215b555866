#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The C library, its examples and its tests, statically. Runs inside the build root.
# Usage: c.sh OUTPUT TARGET-DIRECTORY
set -euo pipefail
out=$1 target=$2
build=$target/c
make=(make -s -C lib/c CC=gcc-14 CFLAGS="-O2 -Werror" O="$build")

"${make[@]}" all examples check-man
# It can be installed as it says, and a program finds it there.
rm -rf "$build/installed"
"${make[@]}" install DESTDIR="$build/installed" PREFIX=/usr
# It says where, although "make" was told of no place, or of another one.
grep -qx 'prefix=/usr' "$build/installed/usr/lib/pkgconfig/kbus.pc"
[ "$(readelf -d "$build/installed/usr/lib/libkbus.so" | grep -o 'soname: \[.*\]')" = "soname: [libkbus.so.0]" ]
# What the header declares is exported, and nothing else.
diff <(grep -oE '\bkbus_[a-z_]+\(int fd|\bkbus_(open|msg_free|strerror)\((const|struct|enum)' lib/c/kbus.h | sed 's/(.*//' | sort -u) \
	<(nm -D --defined-only "$build/libkbus.so" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort)
gcc-14 -Wall -Wextra -pedantic -std=c11 -Werror -I"$build/installed/usr/include" -o "$build/against-installed" \
	lib/c/examples/requester.c -L"$build/installed/usr/lib" -lkbus
for example in listener replier requester; do
	gcc-14 -Wall -Wextra -pedantic -std=c11 -Werror -O2 -static -Ilib/c -Iuapi -o "$out/c-$example" \
		"lib/c/examples/$example.c" "$build/libkbus.a"
done
# The programs of the README.
awk -v to="$build/readme" '/^```c$/ { n++; on = 1; next } /^```$/ { on = 0 } on { print > (to n ".c") }' lib/c/README.md
for program in "$build"/readme*.c; do
	gcc-14 -Wall -Wextra -pedantic -std=c11 -Werror -fsyntax-only -Ilib/c -Iuapi "$program"
done
gcc-14 -Wall -Wextra -Werror -std=c11 -O2 -static -pthread -Wl,--wrap=recvmsg -Ilib/c -Iuapi -o "$out/c.test" \
	lib/c/tests/test.c lib/c/tests/requests.c "$build/libkbus.a"
gcc-14 -Wall -Wextra -Werror -std=c11 -O2 -static -Ilib/c -Iuapi -o "$out/peer-c" lib/c/tests/peer.c "$build/libkbus.a"
# The examples do what they say.
cat >"$out/c-examples.test" <<-'END'
	#!/bin/sh
	printf 'KTAP version 1\n1..2\n'
	./c-replier '$.Echo' @examples &
	./c-listener '$.*' @examples 2 >/tmp/c-listener.out &
	listener=$!
	# Both are there when the bus says so.
	until [ "$(grep -c '^@examples ' /proc/net/kbus_bindings)" = 2 ]; do sleep 0.1; done
	got=$(./c-requester '$.Echo' 'hello there' @examples)
	[ "$got" = 'hello there' ] || printf 'not '
	echo 'ok 1 c::examples::requester_gets_what_the_replier_sends'
	wait "$listener"
	[ "$(sed 's/ from [0-9a-f]*/ from N/' /tmp/c-listener.out | uniq -c | xargs)" = '2 $.Echo from N: hello there' ] || printf 'not '
	echo 'ok 2 c::examples::listener_shows_both_messages'
	kill %1
END
chmod +x "$out/c-examples.test"
