// SPDX-License-Identifier: GPL-2.0
/* D-Bus by sd-bus, systemd's library. PLACE is the address of the broker. */
#include "bench.h"

#include <errno.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

static const char interface[] = "org.kbus.Bench";
static const char object[] = "/org/kbus/Bench";

static sd_bus *asker, *subscribers[MOST];
/* Signals that came since this was 0. */
static int hits;

/* Passes a result on that is none of the library's errors. */
static int good(const char *what, int result)
{
	if (result < 0) {
		errno = -result;
		fail_errno(what);
	}
	return result;
}

static sd_bus *connection(void)
{
	const char *name;
	sd_bus *made;

	good("sd_bus_new", sd_bus_new(&made));
	good("sd_bus_set_address", sd_bus_set_address(made, place));
	good("sd_bus_set_bus_client", sd_bus_set_bus_client(made, 1));
	good("sd_bus_start", sd_bus_start(made));
	/* Waits until the broker knows it. */
	good("sd_bus_get_unique_name", sd_bus_get_unique_name(made, &name));
	return made;
}

static void append(sd_bus_message *message, size_t len)
{
	good("sd_bus_message_append_array",
	     sd_bus_message_append_array(message, 'y', payload, len));
}

static size_t payload_len(sd_bus_message *message)
{
	const void *bytes;
	size_t len;

	good("sd_bus_message_read_array", sd_bus_message_read_array(message, 'y', &bytes, &len));
	return len;
}

/* Handles one message, once there is one. */
static void process(sd_bus *bus)
{
	if (good("sd_bus_process", sd_bus_process(bus, NULL)) == 0)
		good("sd_bus_wait", sd_bus_wait(bus, UINT64_MAX));
}

static int asked(sd_bus_message *request, void *data, sd_bus_error *error)
{
	sd_bus_message *reply;

	(void)data;
	(void)error;
	if (!sd_bus_message_is_method_call(request, interface, "Ask"))
		return 0;
	good("sd_bus_message_new_method_return", sd_bus_message_new_method_return(request, &reply));
	append(reply, payload_len(request));
	good("sd_bus_send", sd_bus_send(NULL, reply, NULL));
	sd_bus_message_unref(reply);
	return 1;
}

static void answer(void)
{
	sd_bus *here = connection();

	good("sd_bus_request_name", sd_bus_request_name(here, interface, 0));
	good("sd_bus_add_object", sd_bus_add_object(here, NULL, object, asked, NULL));
	ready();
	for (;;)
		process(here);
}

static void start(void)
{
	asker = connection();
}

static void ask(size_t len)
{
	sd_bus_message *request, *reply;

	good("sd_bus_message_new_method_call",
	     sd_bus_message_new_method_call(asker, &request, interface, object, interface, "Ask"));
	append(request, len);
	good("sd_bus_call", sd_bus_call(asker, request, UINT64_MAX, NULL, &reply));
	if (payload_len(reply) != len)
		fail("a reply of another length");
	sd_bus_message_unref(request);
	sd_bus_message_unref(reply);
}

static int hit(sd_bus_message *signal, void *data, sd_bus_error *error)
{
	(void)data;
	(void)error;
	if (payload_len(signal) != ANNOUNCED)
		fail("a signal of another length");
	hits++;
	return 0;
}

static void subscribe(int n)
{
	subscribers[n] = connection();
	good("sd_bus_match_signal",
	     sd_bus_match_signal(subscribers[n], NULL, NULL, NULL, interface, "Hit", hit, NULL));
}

static void announce(int count)
{
	sd_bus_message *signal;

	(void)count;
	good("sd_bus_message_new_signal",
	     sd_bus_message_new_signal(asker, &signal, object, interface, "Hit"));
	append(signal, ANNOUNCED);
	good("sd_bus_send", sd_bus_send(asker, signal, NULL));
	sd_bus_message_unref(signal);
}

static void receive(int n)
{
	for (hits = 0; hits == 0;)
		process(subscribers[n]);
}

const struct peer peer = {
	.guarantees =
		"as a bus: one order, an answer or an error. Less: who does not read is thrown "
		"off (dbus-broker) or misses messages untold (dbus-daemon). More: typed data, "
		"policies, services started on demand",
	.answer = answer,
	.start = start,
	.ask = ask,
	.subscribe = subscribe,
	.announce = announce,
	.receive = receive,
};
