// SPDX-License-Identifier: GPL-2.0
/* AF_UNIX datagrams: one to each subscriber, as nobody else copies them. */
#include "datagram.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

/* An address and its length. */
struct address {
	struct sockaddr_un name;
	socklen_t len;
};

static int asker, subscribers[MOST];
static struct address answerer, subscriber_at[MOST];

static void fill(struct address *at, const char *what, int n)
{
	memset(at, 0, sizeof(*at));
	at->name.sun_family = AF_UNIX;
	/* The first byte is zero: an abstract name. */
	at->len = offsetof(struct sockaddr_un, sun_path) + 1;
	at->len += snprintf(at->name.sun_path + 1, sizeof(at->name.sun_path) - 1, "bench-%s-%d",
			    what, n);
}

static int bound(struct address *at, const char *what, int n)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	CHECK("socket", fd >= 0);
	fill(at, what, n);
	CHECK("bind", bind(fd, (struct sockaddr *)&at->name, at->len) == 0);
	return fd;
}

static void answer(void)
{
	struct address at;
	int fd = bound(&at, "answerer", 0);

	answer_datagrams(fd);
}

static void start(void)
{
	struct address at;

	asker = bound(&at, "asker", 0);
	fill(&answerer, "answerer", 0);
}

static void send_to(const struct address *to, size_t len)
{
	send_datagram(asker, &to->name, to->len, len);
}

static void ask(size_t len)
{
	send_to(&answerer, len);
	receive_datagram(asker, len);
}

static void subscribe(int n)
{
	subscribers[n] = bound(&subscriber_at[n], "subscriber", n);
}

static void announce(int count)
{
	for (int n = 0; n < count; n++)
		send_to(&subscriber_at[n], ANNOUNCED);
}

static void receive(int n)
{
	receive_datagram(subscribers[n], ANNOUNCED);
}

const struct peer peer = {
	.guarantees =
		"less: no names with many listeners, no order across receivers, no answer if "
		"the other side dies",
	.answer = answer,
	.start = start,
	.ask = ask,
	.subscribe = subscribe,
	.announce = announce,
	.receive = receive,
};
