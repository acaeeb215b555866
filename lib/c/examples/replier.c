/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Answers requests for a name with their own payload. Usage: replier NAME [BUS] */
#include <errno.h>
#include <kbus.h>
#include <stdio.h>

static int fail(enum kbus_op op, const char *what)
{
	fprintf(stderr, "replier: %s: %s\n", what, kbus_strerror(op, errno));
	return 1;
}

int main(int argc, char **argv)
{
	const char *bus = argc > 2 ? argv[2] : NULL;
	struct kbus_msg msg;
	int fd;

	if (argc < 2) {
		fputs("usage: replier NAME [BUS]\n", stderr);
		return 2;
	}
	fd = kbus_open(bus, 0);
	if (fd < 0)
		return fail(KBUS_OP_OPEN, bus ? bus : "the bus");
	if (kbus_replier(fd, argv[1]))
		return fail(KBUS_OP_REPLIER, argv[1]);
	while (!kbus_recv(fd, &msg, NULL, 0, 0)) {
		if ((msg.flags & KBUS_YOU_REPLY) &&
		    kbus_reply(fd, &msg, msg.data, msg.len, NULL)) {
			fail(KBUS_OP_REPLY, msg.name);
			/* The requester is told, unless it has gone. */
			kbus_ignore(fd, &msg);
		}
		kbus_msg_free(&msg);
	}
	return fail(KBUS_OP_RECV, "receive");
}
