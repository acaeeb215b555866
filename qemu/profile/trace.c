// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin of QEMU's emulator (TCG). It writes down each block of instructions that the machine runs between two marks
 * of a program.
 *
 * A mark is the instruction "nopl NUMBER(%rax)", which does nothing. The upper half of the number is 0x4b42, the lower
 * one the tag of what is measured, or 0 at its end. See selftests/src/bin/kbus-bench/profile.rs.
 *
 * The output has a line "RUN tag" for each, then a line for each block that was run, with its number. Before the first
 * of a block is a line "B number", with how its last instruction goes on (C call, R return, J jump, S system call, T
 * return from one, I return from an interrupt, - anything else) and the addresses of all of its instructions.
 *
 * The declarations are those of qemu-plugin.h, version 4, which Debian has in no package.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_info;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
		void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
		void (*cb)(unsigned int, void *), int flags, void *data);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
		void (*cb)(unsigned int, void *), int flags, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t at);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to, size_t len);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);

int qemu_plugin_version = 4;

struct block {
	/* 0 until it is written. */
	unsigned long number;
	size_t count;
	char end;
	uint64_t at[];
};

static FILE *out;
static struct block **run;
static size_t length, room;
/* What is measured now; 0 is nothing. */
static uint16_t tag;
/* Blocks that were written. */
static unsigned long written;

static void *checked(void *memory)
{
	if (!memory) {
		fputs("trace: no memory\n", stderr);
		exit(1);
	}
	return memory;
}

static void executed(unsigned int cpu, void *data)
{
	(void)cpu;
	if (!tag)
		return;
	if (length == room) {
		room = room ? 2 * room : 1 << 16;
		run = checked(realloc(run, room * sizeof(*run)));
	}
	run[length++] = data;
}

static void write_block(struct block *block)
{
	block->number = ++written;
	fprintf(out, "B %lu %c", block->number, block->end);
	for (size_t k = 0; k < block->count; k++)
		fprintf(out, " %lx", block->at[k]);
	fputc('\n', out);
}

static void marked(unsigned int cpu, void *data)
{
	(void)cpu;
	if ((uintptr_t)data) {
		tag = (uintptr_t)data;
		length = 0;
		return;
	}
	if (!tag)
		return;
	fprintf(out, "RUN %u\n", tag);
	for (size_t i = 0; i < length; i++) {
		if (!run[i]->number)
			write_block(run[i]);
		fprintf(out, "%lu\n", run[i]->number);
	}
	fflush(out);
	tag = 0;
}

/* How the program goes on after an instruction. */
static char end_of(const uint8_t *code, size_t size)
{
	size_t i = 0;

	/* Prefixes. */
	while (i + 1 < size && (code[i] == 0x2e || code[i] == 0x3e || code[i] == 0x66 || code[i] == 0xf2 ||
				code[i] == 0xf3 || (code[i] & 0xf0) == 0x40))
		i++;
	uint8_t next = i + 1 < size ? code[i + 1] : 0, kind = next >> 3 & 7;

	switch (code[i]) {
	case 0xe8:
		return 'C';
	case 0xc2:
	case 0xc3:
		return 'R';
	case 0xcf:
		return 'I';
	case 0xe9:
	case 0xeb:
		return 'J';
	case 0xff:
		return kind == 2 ? 'C' : kind == 4 ? 'J' : '-';
	case 0x0f:
		return next == 0x05 ? 'S' : next == 0x07 ? 'T' : '-';
	default:
		return '-';
	}
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t count = qemu_plugin_tb_n_insns(tb);
	/* Never freed: it may have been run already when the emulator throws the translation away. */
	struct block *block = checked(malloc(sizeof(*block) + count * sizeof(block->at[0])));

	(void)id;
	block->number = 0;
	block->count = count;
	block->end = '-';
	for (size_t i = 0; i < count; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint8_t code[16] = { 0 };
		size_t size = qemu_plugin_insn_size(insn);

		qemu_plugin_insn_data(insn, code, sizeof(code));
		block->at[i] = qemu_plugin_insn_vaddr(insn);
		if (size == 7 && !memcmp(code, "\x0f\x1f\x80", 3) && code[5] == 0x42 && code[6] == 0x4b)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, marked, 0,
					(void *)(uintptr_t)(code[3] | code[4] << 8));
		if (i + 1 == count)
			block->end = end_of(code, size);
	}
	qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, block);
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int count, char **args)
{
	(void)info;
	if (count != 1 || strncmp(args[0], "to=", 3)) {
		fputs("trace: usage: -plugin trace.so,to=FILE\n", stderr);
		return -1;
	}
	out = fopen(args[0] + 3, "w");
	if (!out) {
		perror(args[0] + 3);
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
