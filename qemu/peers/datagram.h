/* SPDX-License-Identifier: GPL-2.0 */
/* What all datagram sockets do alike: sendto() and recvfrom(), unconnected. */
#ifndef DATAGRAM_H
#define DATAGRAM_H

#include "bench.h"

#include <sys/socket.h>

/* Sends so many bytes of payload[]. */
static inline void send_datagram(int fd, const void *to, socklen_t to_len, size_t len)
{
	CHECK("sendto", sendto(fd, payload, len, 0, to, to_len) == (ssize_t)len);
}

/* Receives a datagram of so many bytes, and asks where from. */
static inline void receive_datagram(int fd, size_t len)
{
	struct sockaddr_storage from;
	socklen_t from_len = sizeof(from);
	ssize_t got = recvfrom(fd, inbox, sizeof(inbox), 0, (struct sockaddr *)&from, &from_len);

	CHECK("recvfrom", got == (ssize_t)len);
}

/* Sends back all that comes, to where it came from. */
static inline void answer_datagrams(int fd)
{
	ready();
	for (;;) {
		struct sockaddr_storage from;
		struct sockaddr *back = (struct sockaddr *)&from;
		socklen_t from_len = sizeof(from);
		ssize_t len = recvfrom(fd, inbox, sizeof(inbox), 0, back, &from_len);

		CHECK("recvfrom", len >= 0);
		CHECK("sendto", sendto(fd, inbox, len, 0, back, from_len) == len);
	}
}

#endif
