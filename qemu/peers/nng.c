// SPDX-License-Identifier: GPL-2.0
/* nng: req and rep, pub and sub, over ipc://. All subscribers share the threads of one process. */
#include "bench.h"

#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <string.h>
#include <unistd.h>

static const char requests[] = "ipc:///tmp/nng-requests";
static const char announcements[] = "ipc:///tmp/nng-announcements";
static const char topic[] = "$.Bench.Hit";
#define TOPIC_LEN (sizeof(topic) - 1)

static nng_socket asker, publisher, subscribers[MOST];

static void good(int result)
{
	if (result)
		fail(nng_strerror(result));
}

static void answer(void)
{
	nng_socket here;

	good(nng_rep0_open(&here));
	good(nng_listen(here, requests, NULL, 0));
	ready();
	for (;;) {
		size_t len = sizeof(inbox);

		good(nng_recv(here, inbox, &len, 0));
		good(nng_send(here, inbox, len, 0));
	}
}

static void start(void)
{
	good(nng_req0_open(&asker));
	good(nng_dial(asker, requests, NULL, 0));
	good(nng_pub0_open(&publisher));
	good(nng_listen(publisher, announcements, NULL, 0));
}

static void ask(size_t len)
{
	size_t answered = sizeof(inbox);

	good(nng_send(asker, payload, len, 0));
	good(nng_recv(asker, inbox, &answered, 0));
	if (answered != len)
		fail("a reply of another length");
}

static void announce(int count)
{
	unsigned char message[TOPIC_LEN + ANNOUNCED];

	(void)count;
	memcpy(message, topic, TOPIC_LEN);
	memcpy(message + TOPIC_LEN, payload, ANNOUNCED);
	good(nng_send(publisher, message, sizeof(message), 0));
}

static int read_one(int n, int flags)
{
	size_t len = sizeof(inbox);
	int result = nng_recv(subscribers[n], inbox, &len, flags);

	if (result == NNG_EAGAIN)
		return 0;
	good(result);
	if (len != TOPIC_LEN + ANNOUNCED)
		fail("an announcement of another length");
	return 1;
}

/* A subscriber is there some time later: waits for it, then reads all that is still there. */
static void subscribe(int n)
{
	nng_socket *here = &subscribers[n];

	good(nng_sub0_open(here));
	good(nng_socket_set(*here, NNG_OPT_SUB_SUBSCRIBE, topic, TOPIC_LEN));
	good(nng_dial(*here, announcements, NULL, 0));
	do {
		announce(n);
		usleep(1000);
	} while (!read_one(n, NNG_FLAG_NONBLOCK));
	usleep(10000);
	for (int i = 0; i <= n; i++)
		while (read_one(i, NNG_FLAG_NONBLOCK))
			;
}

static void receive(int n)
{
	if (!read_one(n, 0))
		fail("nothing to read");
}

const struct peer peer = {
	.guarantees =
		"less: a slow subscriber loses messages untold, no order across senders. More: "
		"the same over TCP; a request is asked again until it is answered",
	.answer = answer,
	.start = start,
	.ask = ask,
	.subscribe = subscribe,
	.announce = announce,
	.receive = receive,
};
