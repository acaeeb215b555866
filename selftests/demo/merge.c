// SPDX-License-Identifier: GPL-2.0
/*
 * Shows all that is said on several buses, in the one order in which it was
 * said. docs/ordering.md says why this is right and never waits.
 */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/kbus.h>

/* As many bytes of a payload are shown. */
#define SHOWN 64

/* A bus, and the one message of it that has been read and not yet shown. */
struct source {
	const char *bus;
	int fd;
	int held;
	/* All with an id up to this has been read, if none is held. */
	__u64 complete;
	struct kbus_info info;
	char from[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
	char name[KBUS_NAME_MAX + 1];
	char text[SHOWN];
	size_t len;
};

static void explain(FILE *to)
{
	fputs("usage: merge BUS...\n"
	      "\n"
	      "Listens to all names on each of the buses, and shows what is said in the order\n"
	      "of its ids, which is the order in which it was said. A line has the id, the bus,\n"
	      "the kind of message, the address of its sender and the beginning of its payload.\n"
	      "Urgent messages are shown when they come. BUS is the name of an abstract bus\n"
	      "without its leading NUL; it is made if it is not there.\n",
	      to);
}

static void fail(const char *bus, const char *what)
{
	fprintf(stderr, "merge: %s: cannot %s: %s\n", bus, what, strerror(errno));
	exit(1);
}

static void set(const struct source *s, int option, const void *value, socklen_t len)
{
	if (setsockopt(s->fd, SOL_KBUS, option, value, len))
		fail(s->bus, option == KBUS_LISTEN ? "listen" : "set up the socket");
}

static void attach(struct source *s)
{
	static const unsigned int room = 1000, on = 1;
	struct sockaddr_un at = { .sun_family = AF_KBUS };
	size_t len = strlen(s->bus);

	if (!len || len >= sizeof(at.sun_path)) {
		fprintf(stderr, "merge: \"%s\": a bus has a name of 1 to %zu bytes\n", s->bus,
			sizeof(at.sun_path) - 1);
		exit(2);
	}
	s->fd = socket(AF_KBUS, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0 && errno == EAFNOSUPPORT) {
		fprintf(stderr, "merge: this kernel has no KBUS: is the module loaded?\n");
		exit(1);
	}
	if (s->fd < 0)
		fail(s->bus, "make a socket");
	memcpy(at.sun_path + 1, s->bus, len);
	if (bind(s->fd, (struct sockaddr *)&at, offsetof(struct sockaddr_un, sun_path) + 1 + len))
		fail(s->bus, "join the bus");
	/* Who only looks on disturbs nobody, and says what it missed. */
	set(s, KBUS_QUEUE_LEN, &room, sizeof(room));
	set(s, KBUS_LOSSY, &on, sizeof(on));
	set(s, KBUS_REPORT_LOST, &on, sizeof(on));
	set(s, KBUS_LISTEN, "$.*", 3);
}

static __u64 domain(const struct source *s)
{
	struct kbus_bus_info info = { 0 };
	socklen_t len = sizeof(info);

	if (getsockopt(s->fd, SOL_KBUS, KBUS_BUS_INFO, &info, &len))
		fail(s->bus, "look at the bus");
	return info.domain;
}

/* Reads the next message, if there is one. */
static int receive(struct source *s)
{
	union {
		char bytes[CMSG_SPACE(KBUS_NAME_MAX) + CMSG_SPACE(sizeof(struct kbus_via)) +
			   CMSG_SPACE(2 * sizeof(struct kbus_info))];
		struct cmsghdr align;
	} control;
	struct sockaddr_un from;
	struct iovec iov = { .iov_base = s->text, .iov_len = sizeof(s->text) };
	struct msghdr msg = {
		.msg_name = &from, .msg_namelen = sizeof(from),
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *part;
	ssize_t n = recvmsg(s->fd, &msg, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n < 0)
		fail(s->bus, "receive");
	s->len = n;
	snprintf(s->from, sizeof(s->from), "%.*s", (int)sizeof(from.sun_path), from.sun_path);
	s->name[0] = '\0';
	memset(&s->info, 0, sizeof(s->info));
	for (part = CMSG_FIRSTHDR(&msg); part; part = CMSG_NXTHDR(&msg, part)) {
		size_t len = part->cmsg_len - CMSG_LEN(0);

		if (part->cmsg_level != SOL_KBUS)
			continue;
		/* It may have grown: read what is known of it. */
		if (part->cmsg_type == SCM_KBUS_INFO)
			memcpy(&s->info, CMSG_DATA(part),
			       len < sizeof(s->info) ? len : sizeof(s->info));
		/* A name that is too long for an address stands beside it. */
		if (part->cmsg_type == SCM_KBUS_NAME)
			snprintf(s->name, sizeof(s->name), "%.*s", (int)len,
				 (char *)CMSG_DATA(part));
	}
	return 1;
}

static const char *kind(__u32 flags)
{
	if (flags & KBUS_STATUS)
		return "status";
	if (flags & KBUS_REPLY)
		return "reply";
	return flags & KBUS_REQUEST ? "request" : "announcement";
}

static void show(const struct source *s)
{
	size_t n;

	printf("%llu %s %s%s ", (unsigned long long)s->info.id, s->bus,
	       s->info.flags & KBUS_URGENT ? "urgent " : "", kind(s->info.flags));
	/* In the address "$." stands for a name that is beside it. */
	printf("%s%s \"", s->name, s->name[0] ? s->from + 2 : s->from);
	for (n = 0; n < s->len; n++)
		putchar(s->text[n] >= ' ' && s->text[n] <= '~' ? s->text[n] : '.');
	putchar('"');
	if (s->info.len > s->len)
		printf(" and %zu bytes more", s->info.len - s->len);
	if (s->info.lost)
		printf(" after %u lost", s->info.lost);
	putchar('\n');
	if (ferror(stdout))
		fail(s->bus, "write");
}

/* Takes the next message in hand, unless there is one or none comes now. */
static void fill(struct source *s)
{
	while (!s->held && receive(s)) {
		/* Urgent ones have left their place in the order. */
		if (s->info.flags & KBUS_URGENT)
			show(s);
		else
			s->held = 1;
	}
}

/* Sees to it that nothing up to this id can come from a bus any more. */
static void catch_up(struct source *s, __u64 id)
{
	__u64 sync;
	socklen_t len = sizeof(sync);

	if (s->held || s->complete >= id)
		return;
	if (getsockopt(s->fd, SOL_KBUS, KBUS_SYNC, &sync, &len))
		fail(s->bus, "ask for KBUS_SYNC");
	/* All up to here is in the queue now, so look again. */
	fill(s);
	s->complete = sync;
}

static struct source *earliest(struct source *all, int count)
{
	struct source *first = NULL, *s;

	for (s = all; s < all + count; s++)
		if (s->held && (!first || s->info.id < first->info.id))
			first = s;
	return first;
}

int main(int argc, char **argv)
{
	int count = argc - 1, n;
	struct source *all = calloc(argc, sizeof(*all)), *s;
	struct pollfd *fds = calloc(argc, sizeof(*fds));

	if (count == 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		explain(stdout);
		return 0;
	}
	if (!count || argv[1][0] == '-') {
		explain(stderr);
		return 2;
	}
	if (!all || !fds)
		fail(argv[0], "get memory");
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (n = 0; n < count; n++) {
		all[n].bus = argv[n + 1];
		attach(&all[n]);
		fds[n] = (struct pollfd){ .fd = all[n].fd, .events = POLLIN };
		if (domain(&all[n]) != domain(&all[0])) {
			fprintf(stderr, "merge: the ids of %s and %s are not of one order\n",
				all[0].bus, all[n].bus);
			return 1;
		}
	}

	for (;;) {
		struct source *next = earliest(all, count);

		if (!next) {
			if (poll(fds, count, -1) < 0 && errno != EINTR)
				fail(argv[0], "poll");
			for (s = all; s < all + count; s++)
				fill(s);
			continue;
		}
		for (s = all; s < all + count; s++)
			catch_up(s, next->info.id);
		/* This may have brought an earlier one. */
		next = earliest(all, count);
		show(next);
		next->held = 0;
		fill(next);
	}
}
