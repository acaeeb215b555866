// SPDX-License-Identifier: GPL-2.0
/*
 * Measures one way to pass messages, and prints a line for each figure, with tabs between fields:
 *
 *	peer	NAME	GUARANTEES
 *	trip	NAME	BYTES	INSTRUCTIONS
 *	fan	NAME	SUBSCRIBERS	INSTRUCTIONS OF THE CALL	AND UNTIL ALL HAVE READ
 *
 * The clock is the time-stamp counter, which in the machine of "make bench" goes up by one with
 * each instruction of any process and of the kernel. Usage: PROGRAM NAME [PLACE]
 */
#include "bench.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <unistd.h>

/* Measurements of which a figure is the median, after a tenth of them that do not count. */
#define TRIPS 500
#define ANNOUNCEMENTS 200
/*
 * Two processes that wake each other can do so in several ways, with more switches or fewer, and
 * what they did before decides how they go on. After so many requests the asker rests for so many
 * microseconds, and then they begin anew.
 */
#define REST 7000
#define REST_AFTER 50

static const size_t sizes[] = { 64, 1024, 16384, LARGEST };
static const int fans[] = { 1, 8, MOST };

const char *place;
unsigned char payload[LARGEST];
unsigned char inbox[LARGEST + 4096];

static int gate[2];

static uint64_t now(void)
{
	uint32_t low, high;

	asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static int order(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t median(uint64_t *values, size_t count)
{
	qsort(values, count, sizeof(*values), order);
	return values[count / 2];
}

void fail(const char *what)
{
	fprintf(stderr, "# error: %s\n", what);
	exit(1);
}

void fail_errno(const char *what)
{
	fprintf(stderr, "# error: %s: %m\n", what);
	exit(1);
}

void ready(void)
{
	CHECK("tell that requests can come", write(gate[1], "r", 1) == 1);
}

static void measure_trips(const char *name)
{
	static uint64_t taken[TRIPS];

	for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
		for (int n = -TRIPS / 10; n < TRIPS; n++) {
			uint64_t start;

			if (n % REST_AFTER == 0)
				usleep(REST);
			start = now();
			peer.ask(sizes[s]);
			if (n >= 0)
				taken[n] = now() - start;
		}
		printf("trip\t%s\t%zu\t%lu\n", name, sizes[s], median(taken, TRIPS));
	}
}

static void measure_fans(const char *name)
{
	static uint64_t call[ANNOUNCEMENTS], all[ANNOUNCEMENTS];
	int subscribers = 0;

	for (size_t f = 0; f < sizeof(fans) / sizeof(*fans); f++) {
		while (subscribers < fans[f])
			peer.subscribe(subscribers++);
		for (int n = -ANNOUNCEMENTS / 10; n < ANNOUNCEMENTS; n++) {
			uint64_t start = now(), sent;

			peer.announce(subscribers);
			sent = now();
			for (int i = 0; i < subscribers; i++)
				peer.receive(i);
			if (n >= 0) {
				call[n] = sent - start;
				all[n] = now() - start;
			}
		}
		printf("fan\t%s\t%d\t%lu\t%lu\n", name, subscribers, median(call, ANNOUNCEMENTS),
		       median(all, ANNOUNCEMENTS));
	}
}

int main(int argc, char **argv)
{
	pid_t answerer;
	char byte;

	if (argc < 2)
		fail("usage: PROGRAM NAME [PLACE]");
	place = argv[2];
	setvbuf(stdout, NULL, _IOLBF, 0);
	memset(payload, 0x5a, sizeof(payload));
	CHECK("pipe", pipe(gate) == 0);
	answerer = fork();
	CHECK("fork", answerer >= 0);
	if (answerer == 0) {
		/* It ends with its parent, and the parent's read() of the pipe with it. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(gate[0]);
		peer.answer();
		_exit(1);
	}
	close(gate[1]);
	if (read(gate[0], &byte, 1) != 1)
		fail("the process that answers has ended");
	peer.start();
	printf("peer\t%s\t%s\n", argv[1], peer.guarantees);
	measure_trips(argv[1]);
	measure_fans(argv[1]);
	/* Without the libraries' good-byes: threads may still run. */
	fflush(stdout);
	_exit(0);
}
