/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Asks the replier for a name, and prints its reply. Usage: requester NAME [TEXT [BUS]] */
#include <errno.h>
#include <kbus.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	const char *text = argc > 2 ? argv[2] : "";
	const char *bus = argc > 3 ? argv[3] : NULL;
	struct kbus_msg reply;
	int fd;

	if (argc < 2) {
		fputs("usage: requester NAME [TEXT [BUS]]\n", stderr);
		return 2;
	}
	fd = kbus_open(bus, 0);
	if (fd < 0) {
		fprintf(stderr, "requester: %s\n", kbus_strerror(KBUS_OP_OPEN, errno));
		return 1;
	}
	if (kbus_call(fd, argv[1], text, strlen(text), NULL, &reply, 5000)) {
		fprintf(stderr, "requester: %s: %s\n", argv[1], kbus_strerror(KBUS_OP_CALL, errno));
		kbus_msg_free(&reply);
		return 1;
	}
	fwrite(reply.data, 1, reply.len, stdout);
	putchar('\n');
	kbus_msg_free(&reply);
	return 0;
}
