#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Boots the stock kernel with the module and runs one thing in it.
# Usage: boot.sh RESULT RUN [ARG,ARG...], where RUN is test, userland, timing, reload, cycles, demo, bench, processors, peers, shell, sanitize or leaks. Results go to the file RESULT and, as they
# come, to the standard output; the console to RESULT.console. Exit status: 0 when the run reached its end and the
# kernel had no complaint, whatever the results say.
. "$(dirname "$0")/lib.sh"

result=$1 run=$2 args=${3:-}
choose_kernel
# A kernel with sanitizers is some fifteen times as slow, and takes more memory.
slow=1 memory=1024
[ -z "$SANITIZER" ] || slow=10 memory=3072
# A machine that hangs is ended. It must not be one that is slow because its host does other work.
limit=${KBUS_VM_SECONDS:-$((2700 * slow))}
# So is one that has not come as far as the first program, which takes a minute at most.
boot_limit=600
console=$result.console

cpus=2
if [ "$run" = bench ] || [ "$run" = peers ]; then
	# Time goes on by a nanosecond with each instruction, on one processor. A string instruction counts once for each
	# turn: without these features copies are made eight bytes a turn and not one.
	accel=(-accel tcg,thread=single -icount shift=0,sleep=off -cpu max,-erms,-fsrm,-fsrs)
	cpus=1
	# What runs between two marks of a program is written down (qemu/profile.sh).
	[ -z "${KBUS_TRACE:-}" ] || accel+=(-plugin "$KBUS_TRACE/trace.so,to=$KBUS_TRACE/trace")
elif [ "$run" = timing ] || [ "$run" = processors ]; then
	# Two processors take turns on one thread of the host. Each instruction of either moves the clock on by eight
	# nanoseconds, and while both sleep the clock jumps: what else the host does changes no time that the machine sees.
	accel=(-accel tcg,thread=single -icount shift=3,sleep=off -cpu max,-erms,-fsrm,-fsrs)
	# An idle processor is to take no turns: it must halt, where the emulator would have it go round in mwait.
	[ "$run" != processors ] || accel[-1]+=,-monitor
# /dev/kvm may be there where it is only a slow emulator: the processor must have the feature itself.
elif [ -w /dev/kvm ] && grep -qE '^flags.* (vmx|svm)( |$)' /proc/cpuinfo; then
	accel=(-accel kvm -cpu host)
else
	# While the kernel changes its own text, as arming and disarming a probe does, two processors that are emulated at
	# once can run an int3 that is there no more ("Oops: int3"): the emulator's fault, not seen with one thread.
	thread=multi
	[[ $run != @(reload|cycles) ]] || thread=single
	accel=(-accel tcg,thread=$thread -cpu max)
fi
# Peers come in a further initramfs, whose files are added to those of the first (qemu/bench-peers.sh).
initramfs=$OUT/initramfs.cpio
if [ "$run" = peers ]; then
	cat "$initramfs" "$OUT/peers.cpio" >"$OUT/initramfs-peers.cpio"
	initramfs=$OUT/initramfs-peers.cpio
fi
qemu=("${EMULATOR[@]}" -M q35 "${accel[@]}" -smp $cpus -m $memory -nodefaults -no-reboot -display none
	-kernel "$KERNELDIR/vmlinuz" -initrd "$initramfs")
# The memory of a machine that is fuzzed is a file: if it crashes, the program that ran is looked for in it.
if [ "$run" = fuzz ] || [ "$run" = sanitize ]; then
	qemu+=(-object "memory-backend-file,id=ram,size=${memory}M,mem-path=$result.memory,share=on" -machine memory-backend=ram)
fi
append="panic=-1 oops=panic loglevel=7 kbus.run=$run"
if [ "$SANITIZER" = kcsan ]; then
	# A race is told as a warning is, and the kernel has some of its own: qemu/races.sh finds those that concern us. An
	# access in 400 is watched, and not one in 4000: so few happen in an emulated machine.
	append="$append kcsan.skip_watch=400"
else
	append="$append panic_on_warn=1"
fi
# The kernel tests its ciphers in the background, for minutes where instructions are counted: others would share the processor
# with that.
[[ $run != @(bench|processors|peers) ]] || append="$append cryptomgr.notests=1"
# The long forms of tests, and what repeats a run of random ones.
append="$append kbus.n=${N:-} kbus.seed=${SEED:-}"
# Only where nothing but the module's own base is looked for.
[ -z "${KBUS_TRACE:-}" ] || append="$append nokaslr"
[ -z "$args" ] || append="$append kbus.args=$args"
if [ -n "$SANITIZER" ]; then
	# To look for leaks makes everything four times as slow again: only where it is what the run is for.
	leaks=off
	[ "$run" != leaks ] || leaks=on
	append="$append kbus.slow=$slow kmemleak=$leaks"
fi

# An emulated machine sometimes dies or hangs while it boots, long before there is a module: of an int3 that has been taken back (see
# above), or, with sanitizers, of an interrupt that comes too early ("wild-memory-access in rcu_is_watching", from
# identify_boot_cpu()). Then it is booted again. What happens after the first program has said that it runs counts.
if [ -z "${KBUS_BOOT:-}" ] && [ "$run" != shell ]; then
	for try in 1 2 3; do
		KBUS_BOOT=$try bash "$0" "$@" && exit 0
		! grep -q '^# booted' "$result" || exit 1
		say "The kernel has not come as far as the first program (try $try)"
	done
	exit 1
fi

if [ "$run" = shell ]; then
	terminals=${KBUS_SHELL:-$WORK}
	# Held as long as the machine runs, so that qemu/terminal.sh knows.
	exec 8>"$terminals/shell.lock"
	flock -n 8 || die "there is a machine of 'make shell' already: 'make terminal' gives another prompt in it"
	# Two more serial lines, whose other ends qemu/terminal.sh finds by these names.
	for n in 2 3; do
		rm -f "$terminals/terminal$n"
		qemu+=(-chardev "pty,id=terminal$n,path=$terminals/terminal$n")
		lines+=(-serial "chardev:terminal$n")
	done
	! [ -t 0 ] || append="$append kbus.size=$(stty size | tr ' ' ,)"
	# The kernel tells errors only: the prompt is to be seen.
	exec "${qemu[@]}" -serial mon:stdio "${lines[@]}" -append "console=ttyS0 $append loglevel=4"
fi

# Prints the program of the fuzzer that was the last to run.
last_program() {
	[ -s "$result.memory" ] || return 0
	grep -a -m 1 -A 60 '^KBUS-FUZZ-BEGIN$' "$result.memory" | sed '/KBUS-FUZZ-END/q' | tee "$result.program" >&2 || :
}

: >"$result"
: >"$console"
"${qemu[@]}" -serial "file:$console" -serial "file:$result" -append "console=ttyS0 $append" </dev/null &
pid=$!
trap 'kill $pid 2>/dev/null || :; rm -f "$result.memory"' EXIT
tail -n +1 -f --pid=$pid -s 0.2 "$result" | stdbuf -oL tr -d '\r' &
start=$SECONDS
while kill -0 $pid 2>/dev/null; do
	if [ $((SECONDS - start)) -ge "$limit" ]; then
		kill $pid
		say "error: the machine was still running after $limit s. Its console ends:"
		tail -n 40 "$console" >&2
		last_program
		exit 1
	fi
	if [ $((SECONDS - start)) -ge "$boot_limit" ] && ! grep -q '^# booted' "$result"; then
		kill $pid
		say "error: the machine has not come as far as the first program after $boot_limit s. Its console ends:"
		tail -n 5 "$console" >&2
		exit 1
	fi
	sleep 0.2
done
wait $! || :
sed -i 's/\r$//' "$result" "$console"

# Races have a verdict of their own; what stands between two lines of "=" is one.
quarrels=$console
if [ "$SANITIZER" = kcsan ]; then
	bash "$TOP/qemu/races.sh" "$console" >"$result.races" 2>"$result.verdict"
	quarrels=$result.rest
	# Whatever else stands there, or has lost its second line, is a complaint like any other.
	awk '
		index($0, "====================") {
			block = block $0 "\n"
			if (open && block !~ /BUG: KCSAN/) printf "%s", block
			if (open) block = ""
			open = !open
			next
		}
		open { block = block $0 "\n"; next }
		{ print }
		END { printf "%s", block }' "$console" >"$quarrels"
	cat "$result.races" >>"$quarrels"
fi
if grep -nE 'BUG:|WARNING:|Oops|general protection|Kernel panic|kernel BUG|unreferenced object|INFO: task .* blocked|rcu.*stall|scheduling while atomic|refcount_t:|UBSAN:|ODEBUG:|suspicious RCU|circular locking|page allocation failure' "$quarrels" >"$result.complaints"; then
	say "error: the kernel complained:"
	head -n 20 "$result.complaints" >&2
	say "The whole console: $console"
	tail -n 60 "$console" >&2
	last_program
	exit 1
fi
grep -q '^# end$' "$result" || {
	say "error: the machine stopped before the end. Its console ends:"
	tail -n 40 "$console" >&2
	last_program
	exit 1
}
grep -q '^# unloaded$' "$result" || { say "error: the module could not be unloaded"; exit 1; }
