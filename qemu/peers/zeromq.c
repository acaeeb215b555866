// SPDX-License-Identifier: GPL-2.0
/*
 * ZeroMQ: REQ and REP, PUB and SUB, over ipc://. Each subscriber has a context, and so a thread,
 * of its own, as it would in a process of its own.
 */
#include "bench.h"

#include <string.h>
#include <unistd.h>
#include <zmq.h>

static const char requests[] = "ipc:///tmp/zeromq-requests";
static const char announcements[] = "ipc:///tmp/zeromq-announcements";
static const char topic[] = "$.Bench.Hit";
#define TOPIC_LEN (sizeof(topic) - 1)

static void *asker, *publisher, *subscribers[MOST];

static void good(const char *what, int condition)
{
	if (!condition)
		fail(zmq_errno() ? zmq_strerror(zmq_errno()) : what);
}

static void *made(int type)
{
	void *socket = zmq_socket(zmq_ctx_new(), type);

	good("zmq_socket", !!socket);
	return socket;
}

static void answer(void)
{
	void *here = made(ZMQ_REP);

	good("zmq_bind", zmq_bind(here, requests) == 0);
	ready();
	for (;;) {
		int len = zmq_recv(here, inbox, sizeof(inbox), 0);

		good("zmq_recv", len >= 0);
		good("zmq_send", zmq_send(here, inbox, len, 0) == len);
	}
}

static void start(void)
{
	asker = made(ZMQ_REQ);
	good("zmq_connect", zmq_connect(asker, requests) == 0);
	publisher = made(ZMQ_PUB);
	good("zmq_bind", zmq_bind(publisher, announcements) == 0);
}

static void ask(size_t len)
{
	good("zmq_send", zmq_send(asker, payload, len, 0) == (int)len);
	good("zmq_recv", zmq_recv(asker, inbox, sizeof(inbox), 0) == (int)len);
}

static void announce(int count)
{
	unsigned char message[TOPIC_LEN + ANNOUNCED];

	(void)count;
	memcpy(message, topic, TOPIC_LEN);
	memcpy(message + TOPIC_LEN, payload, ANNOUNCED);
	good("zmq_send", zmq_send(publisher, message, sizeof(message), 0) == sizeof(message));
}

static int read_one(int n, int flags)
{
	return zmq_recv(subscribers[n], inbox, sizeof(inbox), flags) == TOPIC_LEN + ANNOUNCED;
}

/* A subscription takes effect some time later: waits for it, then reads all that is still there. */
static void subscribe(int n)
{
	void *here = subscribers[n] = made(ZMQ_SUB);

	good("ZMQ_SUBSCRIBE", zmq_setsockopt(here, ZMQ_SUBSCRIBE, topic, TOPIC_LEN) == 0);
	good("zmq_connect", zmq_connect(here, announcements) == 0);
	do {
		announce(n);
		usleep(1000);
	} while (!read_one(n, ZMQ_DONTWAIT));
	usleep(10000);
	for (int i = 0; i <= n; i++)
		while (read_one(i, ZMQ_DONTWAIT))
			;
}

static void receive(int n)
{
	good("zmq_recv", read_one(n, 0));
}

const struct peer peer = {
	.guarantees =
		"less: no answer if the other side dies, a slow subscriber loses messages "
		"untold, no order across senders. More: the same over TCP, reconnects by itself",
	.answer = answer,
	.start = start,
	.ask = ask,
	.subscribe = subscribe,
	.announce = announce,
	.receive = receive,
};
