// SPDX-License-Identifier: GPL-2.0
/* POSIX message queues: one for requests, one for replies, one for each subscriber. */
#include "bench.h"

#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <sys/resource.h>

static mqd_t requests, replies, subscribers[MOST];

static mqd_t made(const char *what, int n, size_t largest)
{
	struct mq_attr attr = { .mq_maxmsg = 10, .mq_msgsize = largest };
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	char name[64];
	mqd_t queue;

	/* The default is a quarter of a megabyte for all queues of a user. */
	CHECK("setrlimit", setrlimit(RLIMIT_MSGQUEUE, &unlimited) == 0);
	snprintf(name, sizeof(name), "/bench-%s-%d", what, n);
	queue = mq_open(name, O_RDWR | O_CREAT, 0600, &attr);
	CHECK("mq_open", queue != (mqd_t)-1);
	return queue;
}

static void open_both(void)
{
	requests = made("requests", 0, LARGEST);
	replies = made("replies", 0, LARGEST);
}

static void answer(void)
{
	open_both();
	ready();
	for (;;) {
		ssize_t len = mq_receive(requests, (char *)inbox, LARGEST, NULL);

		CHECK("mq_receive", len >= 0);
		CHECK("mq_send", mq_send(replies, (char *)inbox, len, 0) == 0);
	}
}

static void ask(size_t len)
{
	CHECK("mq_send", mq_send(requests, (char *)payload, len, 0) == 0);
	CHECK("mq_receive", mq_receive(replies, (char *)inbox, LARGEST, NULL) == (ssize_t)len);
}

static void subscribe(int n)
{
	subscribers[n] = made("subscriber", n, ANNOUNCED);
}

static void announce(int count)
{
	for (int n = 0; n < count; n++)
		CHECK("mq_send", mq_send(subscribers[n], (char *)payload, ANNOUNCED, 0) == 0);
}

static void receive(int n)
{
	ssize_t len = mq_receive(subscribers[n], (char *)inbox, ANNOUNCED, NULL);

	CHECK("mq_receive", len == ANNOUNCED);
}

const struct peer peer = {
	.guarantees =
		"less: one reader for each message, the sender unknown, no answer if the other "
		"side dies. More: priorities",
	.answer = answer,
	.start = open_both,
	.ask = ask,
	.subscribe = subscribe,
	.announce = announce,
	.receive = receive,
};
