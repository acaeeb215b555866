#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Makes a book of docs/ and of the pages beside the code with mdbook, which is compiled into the cache when it is not there;
# from then on nothing is fetched. A warning, or a link that leads nowhere, is a failure. Prints where the book is.
. "$(dirname "$0")/lib.sh"

mdbook=$CACHE/mdbook-0.4.52
choose_kernel
if [ ! -x "$mdbook/bin/mdbook" ]; then
	# As it is in the registry, with the versions it was released with.
	step "mdbook" "5 min" in_root nice -n 19 env CARGO_TARGET_DIR="$WORK/mdbook" cargo install --quiet --locked \
		--no-default-features --features search --root "$mdbook" --version "${mdbook##*-}" mdbook
	rm -rf "$WORK/mdbook"
fi
rm -rf "$WORK/book"
in_root python3 -B qemu/book.py . "$WORK/book-source"
in_root "$mdbook/bin/mdbook" build --dest-dir "$WORK/book" "$WORK/book-source" >"$LOGS/book.log" 2>&1 ||
	{ cat "$LOGS/book.log"; exit 1; }
! grep -E 'WARN|ERROR' "$LOGS/book.log"
in_root python3 -B qemu/links.py --html "$WORK/book"
say "The book: $WORK/book/index.html"
