/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Prints the messages that match a name or wildcard. Usage: listener NAME [BUS [COUNT]] */
#include <errno.h>
#include <kbus.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	const char *bus = argc > 2 ? argv[2] : NULL;
	long left = argc > 3 ? atol(argv[3]) : -1;
	enum kbus_op op = KBUS_OP_OPEN;
	struct kbus_msg msg;
	int fd;

	if (argc < 2) {
		fputs("usage: listener NAME [BUS [COUNT]]\n", stderr);
		return 2;
	}
	fd = kbus_open(bus, 0);
	if (fd < 0)
		goto fail;
	op = KBUS_OP_LISTEN;
	if (kbus_listen(fd, argv[1]))
		goto fail;
	op = KBUS_OP_RECV;
	for (; left; left--) {
		if (kbus_recv(fd, &msg, NULL, 0, 0))
			goto fail;
		if (msg.lost)
			printf("(%u lost)\n", msg.lost);
		printf("%s from %llx: %.*s\n", msg.name, (unsigned long long)msg.sender,
		       (int)msg.len, (const char *)msg.data);
		fflush(stdout);
		kbus_msg_free(&msg);
	}
	return 0;
fail:
	fprintf(stderr, "listener: %s\n", kbus_strerror(op, errno));
	return 1;
}
