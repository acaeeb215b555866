#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# One lint, or all of them. Usage: lint.sh [rustfmt|clippy|doc|checkpatch|sparse|shell|pages]
. "$(dirname "$0")/lib.sh"

choose_kernel
rust_files() { (cd "$TOP" && find net -name '*.rs' ! -path '*/target/*'); }

lint_rustfmt() {
	# shellcheck disable=SC2046
	in_root rustfmt --edition 2021 --check --config-path "$KERNELSRC/.rustfmt.toml" $(rust_files)
	in_root cargo fmt --check -p kbus-selftests -p kbus-uapi -p kbus-interleavings -p kbus -p kbus-tools
	in_root cargo fmt --check --manifest-path fuzz/Cargo.toml
}

lint_clippy() {
	in_root env CARGO_TARGET_DIR="$WORK/target" cargo clippy --locked --workspace --all-targets --features kbus/tokio -- -D warnings
	# To be checked it needs no libFuzzer.
	in_root env CARGO_TARGET_DIR="$WORK/target" CUSTOM_LIBFUZZER_PATH=/none/libfuzzer.a \
		cargo clippy --locked --manifest-path fuzz/Cargo.toml -- -D warnings
	bash "$TOP/qemu/module.sh" >/dev/null
	# Kbuild sees no reason to compile again what it has compiled: say that there is one.
	touch "$OUT/src/net/kbus_main.rs"
	bash "$TOP/qemu/module.sh" CLIPPY=1 >"$WORK/clippy.out" 2>&1 || { cat "$WORK/clippy.out"; return 1; }
	! grep -A12 -E '^(warning|error)' "$WORK/clippy.out"
}

# The documentation of the crates, without a warning, and that each public item of lib/kbus has an example that runs. (They
# run in the machine: qemu/userland/rust.sh.)
lint_doc() {
	local package
	# One after the other, as the library and the command have the same name.
	for package in kbus kbus-tools; do
		in_root env CARGO_TARGET_DIR="$WORK/target" RUSTDOCFLAGS="-D warnings" \
			cargo doc --locked --no-deps --all-features -p "$package"
	done
	in_root env CARGO_TARGET_DIR="$WORK/target" RUSTC_BOOTSTRAP=1 \
		cargo rustdoc --locked --lib --all-features -p kbus -- -Zunstable-options --output-format json
	in_root python3 -B qemu/examples.py "$WORK/target/doc/kbus.json"
	in_root python3 -B qemu/examples.py --try "$WORK/target/doc/kbus.json"
}

lint_checkpatch() {
	in_root perl "$KERNELSRC/scripts/checkpatch.pl" --no-tree --terse --strict --show-types --max-line-length=100 \
		--ignore BIT_MACRO,LINE_SPACING -f net/sys/helpers.c net/sys/helpers.h uapi/linux/kbus.h selftests/demo/replier.c selftests/demo/merge.c selftests/taken/taken.c
	# They are programs with libraries; sentences of a table go over several lines.
	in_root perl "$KERNELSRC/scripts/checkpatch.pl" --no-tree --terse --strict --show-types --max-line-length=100 \
		--ignore SPLIT_STRING,NEW_TYPEDEFS,PREFER_KERNEL_TYPES,PREFER_DEFINED_ATTRIBUTE_MACRO,CAMELCASE -f qemu/peers/*.[ch]
	# A program without any library has none of the kernel's macros either.
	in_root perl "$KERNELSRC/scripts/checkpatch.pl" --no-tree --terse --strict --show-types --max-line-length=100 \
		--ignore PREFER_DEFINED_ATTRIBUTE_MACRO,ARCH_DEFINES,CAMELCASE,MACRO_ARG_REUSE -f selftests/abi/abi.c selftests/abi/sys.h
}

lint_sparse() {
	touch "$OUT/src/net/sys/helpers.c"
	bash "$TOP/qemu/module.sh" C=2 CF=-Wsparse-error >"$WORK/sparse.out" 2>&1 || { cat "$WORK/sparse.out"; return 1; }
	! grep -E 'helpers\.[ch]:.*(warning|error)' "$WORK/sparse.out"
}

lint_shell() {
	for script in "$TOP"/qemu/*.sh "$TOP"/qemu/{peers,userland}/*.sh "$TOP"/packaging/*.sh "$TOP"/packaging/system/{make.sh,trial} "$TOP/.ci/run"; do
		bash -n "$script"
	done
	busybox_syntax=$(in_root busybox sh -n qemu/init 2>&1) || { echo "$busybox_syntax"; return 1; }
	busybox_syntax=$(in_root busybox sh -n qemu/peers/run 2>&1) || { echo "$busybox_syntax"; return 1; }
	rules_finds_faults
}

# qemu/rules.sh accepts a good table with good logs, and finds each fault there may be in either.
rules_finds_faults() {
	local dir=$WORK/rules-lint fault
	local log=$dir/${WORK##*/}/log
	# try NAME of a fault, SED script, FILE it is applied to: without a script all is good.
	try() {
		rm -rf "$dir"
		mkdir -p "$log"
		{
			echo "## Z: a table"
			seq 149 | sed 's/.*/| Z& | A rule. | `sockets::only_datagrams` |/'
			echo '| Z150 | Another. | `core: name::tests::the_bus_owns_its_names` `reload::not_loaded_by_a_socket` `sanitize: sockets::domain_is_kbus` `attacks_traffic::sync_in_a_loop` |'
			echo '## Not built yet'
			echo '| A feature | refused | `options::unknown_option` |'
		} >"$dir/table"
		for form in literal family; do
			printf '%s\n' "# form $form" 'ok 1 sockets::only_datagrams' 'ok 2 options::unknown_option'
		done >"$log/test"
		echo 'ok 1 reload::not_loaded_by_a_socket' >"$log/reload"
		echo 'ok 1 sockets::domain_is_kbus' >"$log/sanitize"
		echo 'ok 1 attacks_traffic::sync_in_a_loop' >"$log/timing"
		printf '%s\n' '     Running unittests mod.rs (/x/deps/kbus_core-1f)' \
			'test name::tests::the_bus_owns_its_names ... ok' >"$log/host-tests.log"
		[ -z "$2" ] || sed -i "$2" "$3"
		KERNEL='' KBUS_CACHE=$dir bash "$TOP/qemu/rules.sh" "$dir/table" >"$dir/out" 2>&1
	}
	try "" "" || { cat "$dir/out"; return 1; }
	while IFS=';' read -r fault script file; do
		if try "$fault" "$script" "$dir/$file"; then
			echo "qemu/rules.sh does not find: $fault"
			return 1
		fi
	done <<-END
	a rule without a test;s/| Z7 .*/| Z7 | A rule. | |/;table
	a test that does not exist;s/| Z7 .*/| Z7 | A rule. | \`sockets::no_such_test\` |/;table
	a host test that does not exist;s/the_bus_owns/no_bus_owns/;table
	a test that did not run;s/| Z7 .*/| Z7 | A rule. | \`sockets::type_is_datagram\` |/;table
	a number twice;s/| Z7 /| Z8 /;table
	too few rules;/| Z7 /d;table
	a rule without a number;s/| Z7 /| /;table
	a failed test;5s/^ok/not ok/;${log#"$dir"/}/test
	a test of one form only;/form family/,/only_datagrams/s/^ok.*//;${log#"$dir"/}/test
	a skipped test;5s/\$/ # SKIP/;${log#"$dir"/}/test
	a refusal that failed;6s/^ok/not ok/;${log#"$dir"/}/test
	a failed host test;s/ok\$/FAILED/;${log#"$dir"/}/host-tests.log
	a failed reload;s/^ok/not ok/;${log#"$dir"/}/reload
	a timing test that failed;s/^ok/not ok/;${log#"$dir"/}/timing
	a timing test that did not run;s/sync/no_sync/;${log#"$dir"/}/timing
	a test that was skipped with sanitizers too;s/\$/ # SKIP/;${log#"$dir"/}/sanitize
	END
}

# Links of the pages, that a broken one would be found, and the manual.
lint_pages() {
	in_root python3 -B qemu/links.py
	rm -rf "$WORK/links-lint"
	in_root python3 -B qemu/links.py --try "$WORK/links-lint"
	in_root mandoc -T lint -W warning docs/kbus.7
}

if [ $# -eq 0 ]; then
	set -- rustfmt clippy doc checkpatch sparse shell pages
fi
for lint; do
	"lint_$lint"
done
