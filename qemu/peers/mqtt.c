// SPDX-License-Identifier: GPL-2.0
/*
 * MQTT 3.1.1 by libmosquitto, QoS 0. PLACE is the path of the broker's socket. MQTT 3 knows no
 * requests: one topic is asked on, another one answered on.
 */
#include "bench.h"

#include <mosquitto.h>
#include <stdio.h>

static struct mosquitto *asker, *subscribers[MOST];
/* Messages and acknowledgements that came since these were 0. */
static int hits, acks;
static int last_len;

static void good(int result)
{
	if (result == MOSQ_ERR_ERRNO)
		fail_errno("libmosquitto");
	if (result)
		fail(mosquitto_strerror(result));
}

static void publish(struct mosquitto *by, const char *topic, const void *bytes, size_t len)
{
	good(mosquitto_publish(by, NULL, topic, len, bytes, 0, false));
}

static void on_message(struct mosquitto *by, void *data, const struct mosquitto_message *message)
{
	(void)by;
	(void)data;
	hits++;
	last_len = message->payloadlen;
}

static void on_request(struct mosquitto *by, void *data, const struct mosquitto_message *message)
{
	(void)data;
	publish(by, "Bench/Answer", message->payload, message->payloadlen);
}

static void on_connect(struct mosquitto *by, void *data, int result)
{
	(void)by;
	(void)data;
	if (result)
		fail(mosquitto_connack_string(result));
	acks++;
}

static void on_subscribe(struct mosquitto *by, void *data, int id, int count, const int *granted)
{
	(void)by;
	(void)data;
	(void)id;
	(void)count;
	(void)granted;
	acks++;
}

/* Goes on until that many have come. */
static void until(struct mosquitto *on, const int *count, int wanted)
{
	while (*count < wanted)
		good(mosquitto_loop(on, -1, 1));
}

typedef void (*handler)(struct mosquitto *by, void *data, const struct mosquitto_message *message);

static struct mosquitto *subscribed(const char *topic, handler on_each)
{
	struct mosquitto *made = mosquitto_new(NULL, true, NULL);

	CHECK("mosquitto_new", made);
	mosquitto_connect_callback_set(made, on_connect);
	mosquitto_subscribe_callback_set(made, on_subscribe);
	mosquitto_message_callback_set(made, on_each);
	acks = 0;
	/* Port 0: the host is the path of a socket. */
	good(mosquitto_connect(made, place, 0, 3600));
	until(made, &acks, 1);
	good(mosquitto_subscribe(made, NULL, topic, 0));
	until(made, &acks, 2);
	return made;
}

static void answer(void)
{
	struct mosquitto *here;

	mosquitto_lib_init();
	here = subscribed("Bench/Ask", on_request);
	ready();
	for (;;)
		good(mosquitto_loop(here, -1, 1));
}

static void start(void)
{
	mosquitto_lib_init();
	asker = subscribed("Bench/Answer", on_message);
}

static void ask(size_t len)
{
	hits = 0;
	publish(asker, "Bench/Ask", payload, len);
	until(asker, &hits, 1);
	if (last_len != (int)len)
		fail("an answer of another length");
}

static void subscribe(int n)
{
	subscribers[n] = subscribed("Bench/Hit", on_message);
}

static void announce(int count)
{
	(void)count;
	publish(asker, "Bench/Hit", payload, ANNOUNCED);
}

static void receive(int n)
{
	hits = 0;
	until(subscribers[n], &hits, 1);
	if (last_len != ANNOUNCED)
		fail("an announcement of another length");
}

const struct peer peer = {
	.guarantees =
		"less: no requests, no answer if the other side dies, at QoS 0 losses untold. "
		"More: the same over TCP, kept messages; at QoS 1 and 2, at a price, no losses",
	.answer = answer,
	.start = start,
	.ask = ask,
	.subscribe = subscribe,
	.announce = announce,
	.receive = receive,
};
