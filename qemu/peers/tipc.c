// SPDX-License-Identifier: GPL-2.0
/* TIPC within one node: datagrams that are not dropped on the way, and its multicast. */
#include "datagram.h"

#include <linux/tipc.h>
#include <string.h>

/* Service types: who answers, and who subscribes. */
#define ASK 18888
#define HIT 18889

static int asker, subscribers[MOST];

static struct sockaddr_tipc service_address(unsigned char kind, unsigned int type)
{
	struct sockaddr_tipc at = { .family = AF_TIPC, .addrtype = kind };

	if (kind == TIPC_SERVICE_ADDR) {
		at.addr.name.name.type = type;
		at.addr.name.name.instance = 1;
	} else {
		at.addr.nameseq.type = type;
		at.addr.nameseq.lower = 1;
		at.addr.nameseq.upper = 1;
		at.scope = TIPC_NODE_SCOPE;
	}
	return at;
}

static int made(void)
{
	int fd = socket(AF_TIPC, SOCK_RDM, 0);

	CHECK("socket", fd >= 0);
	return fd;
}

static int bound(unsigned int type)
{
	struct sockaddr_tipc at = service_address(TIPC_SERVICE_RANGE, type);
	int fd = made();

	CHECK("bind", bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
	return fd;
}

static void answer(void)
{
	int fd = bound(ASK);

	answer_datagrams(fd);
}

static void start(void)
{
	asker = made();
}

static void send_to(unsigned char kind, unsigned int type, size_t len)
{
	struct sockaddr_tipc to = service_address(kind, type);

	send_datagram(asker, &to, sizeof(to), len);
}

static void ask(size_t len)
{
	send_to(TIPC_SERVICE_ADDR, ASK, len);
	receive_datagram(asker, len);
}

static void subscribe(int n)
{
	subscribers[n] = bound(HIT);
}

static void announce(int count)
{
	(void)count;
	send_to(TIPC_SERVICE_RANGE, HIT, ANNOUNCED);
}

static void receive(int n)
{
	receive_datagram(subscribers[n], ANNOUNCED);
}

const struct peer peer = {
	.guarantees =
		"less: numbers in place of names, no permissions within a node, no answer if "
		"the other side dies. More: clusters of nodes; a request that cannot be "
		"delivered comes back",
	.answer = answer,
	.start = start,
	.ask = ask,
	.subscribe = subscribe,
	.announce = announce,
	.receive = receive,
};
