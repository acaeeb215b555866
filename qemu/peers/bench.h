/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What one way to pass messages must be able to do, to be measured by bench.c. Each file beside it
 * is one way. The process that answers is one of its own, so is a broker; the asker, the announcer
 * and all subscribers are one process, whose subscribers read one after the other.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>

/* The largest payload, and the one of an announcement. */
#define LARGEST 65536
#define ANNOUNCED 64
/* Most subscribers. */
#define MOST 64

struct peer {
	/* What it guarantees less or more than a bus: a cell of a table. */
	const char *guarantees;
	/* Becomes the one that sends requests back as they are, says ready(), never returns. */
	void (*answer)(void);
	/* Becomes the one that asks and announces. */
	void (*start)(void);
	/* Asks with so many bytes of payload[] and reads the reply. */
	void (*ask)(size_t len);
	/* Makes one more subscriber, number n from 0 on, of all announcements that follow. */
	void (*subscribe)(int n);
	/* Announces ANNOUNCED bytes of payload[] to so many subscribers. */
	void (*announce)(int subscribers);
	/* Reads one announcement as subscriber n. */
	void (*receive)(int n);
};

/* The way that this program measures. */
extern const struct peer peer;

/* Where the broker is: the second argument of the program, or NULL. */
extern const char *place;

/* What is sent. */
extern unsigned char payload[LARGEST];

/* Room to read into. */
extern unsigned char inbox[LARGEST + 4096];

/* Tells the process that asks that requests can come. */
void ready(void);

/* Ends the program, saying what failed; perror() where errno says why. */
void fail(const char *what) __attribute__((noreturn));
void fail_errno(const char *what) __attribute__((noreturn));

/* Ends the program if that is false. */
#define CHECK(what, condition)				\
	do {						\
		if (!(condition))			\
			fail_errno(what);		\
	} while (0)

#endif
