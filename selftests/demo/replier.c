// SPDX-License-Identifier: GPL-2.0
/*
 * The replier for $.Sensors.Kitchen on the bus "kbus-demo".
 *
 * An ordinary UDP-style loop: the address that recvfrom() gives with a
 * request is the address of its reply.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/kbus.h>

static const char name[] = "$.Sensors.Kitchen";
static const char bus[] = "\0kbus-demo";

int main(void)
{
	struct sockaddr_un at = { .sun_family = AF_KBUS };
	int fd = socket(AF_KBUS, SOCK_DGRAM, 0);

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (fd < 0) {
		printf("cannot make a socket: %s\n", strerror(errno));
		return 1;
	}
	memcpy(at.sun_path, bus, sizeof(bus) - 1);
	if (bind(fd, (struct sockaddr *)&at,
		 offsetof(struct sockaddr_un, sun_path) + sizeof(bus) - 1)) {
		printf("cannot join the bus: %s\n", strerror(errno));
		return 1;
	}
	if (setsockopt(fd, SOL_KBUS, KBUS_REPLIER, name, strlen(name))) {
		printf("refused as replier for %s: %s\n", name,
		       errno == EEXIST ? "EEXIST" : strerror(errno));
		return errno == EEXIST ? 17 : 1;
	}
	printf("replier for %s as process %d\n", name, (int)getpid());

	for (;;) {
		static const char reply[] = "21.5 degrees";
		struct sockaddr_un from;
		socklen_t len = sizeof(from);
		char ask[256];
		ssize_t n;

		n = recvfrom(fd, ask, sizeof(ask) - 1, 0,
			     (struct sockaddr *)&from, &len);
		if (n < 0) {
			printf("cannot receive: %s\n", strerror(errno));
			return 1;
		}
		ask[n] = '\0';
		printf("asked \"%s\" by %s\n", ask, from.sun_path);
		if (!strcmp(ask, "think about it"))
			pause();
		if (sendto(fd, reply, strlen(reply), 0,
			   (struct sockaddr *)&from, len) < 0)
			printf("cannot reply: %s\n", strerror(errno));
		else
			printf("replied \"%s\"\n", reply);
	}
}
