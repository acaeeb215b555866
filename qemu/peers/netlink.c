// SPDX-License-Identifier: GPL-2.0
/*
 * Netlink from program to program, which only NETLINK_USERSOCK has: in generic netlink a
 * multicast group belongs to a family of the kernel, and only that sends to it. What the kernel
 * does for the copies is the same.
 */
#include "datagram.h"

#include <linux/netlink.h>
#include <string.h>

/* The group that subscribers join, as a mask. */
#define GROUP 1
/* The port of the one that answers; subscribers have those after it. */
#define PORT 0x42000000

static int asker, subscribers[MOST];

static struct sockaddr_nl address(unsigned int port, unsigned int groups)
{
	return (struct sockaddr_nl){ .nl_family = AF_NETLINK, .nl_pid = port, .nl_groups = groups };
}

static int bound(unsigned int port, unsigned int groups)
{
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_USERSOCK);
	struct sockaddr_nl at = address(port, groups);

	CHECK("socket", fd >= 0);
	CHECK("bind", bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
	return fd;
}

static void answer(void)
{
	int fd = bound(PORT, 0);

	answer_datagrams(fd);
}

static void start(void)
{
	asker = bound(0, 0);
}

static void send_to(unsigned int port, unsigned int groups, size_t len)
{
	struct sockaddr_nl to = address(port, groups);

	send_datagram(asker, &to, sizeof(to), len);
}

static void ask(size_t len)
{
	send_to(PORT, 0, len);
	receive_datagram(asker, len);
}

static void subscribe(int n)
{
	subscribers[n] = bound(PORT + 1 + n, GROUP);
}

static void announce(int count)
{
	(void)count;
	/* To the first by its port, to all others by the group: without a port the call fails. */
	send_to(PORT + 1, GROUP, ANNOUNCED);
}

static void receive(int n)
{
	receive_datagram(subscribers[n], ANNOUNCED);
}

const struct peer peer = {
	.guarantees =
		"less: 32 groups in place of names, only root may join one, anybody may send; "
		"no answer if the other side dies",
	.answer = answer,
	.start = start,
	.ask = ask,
	.subscribe = subscribe,
	.announce = announce,
	.receive = receive,
};
