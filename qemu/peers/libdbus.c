// SPDX-License-Identifier: GPL-2.0
/* D-Bus by libdbus-1. PLACE is the address of the broker. */
#include "bench.h"

#include <dbus/dbus.h>

static const char interface[] = "org.kbus.Bench";
static const char object[] = "/org/kbus/Bench";
static const char rule[] = "type='signal',interface='org.kbus.Bench',member='Hit'";

static DBusError error = DBUS_ERROR_INIT;
static DBusConnection *asker, *subscribers[MOST];

static void good(int condition)
{
	if (!condition)
		fail(dbus_error_is_set(&error) ? error.message : "libdbus has no memory");
}

static DBusConnection *connection(void)
{
	DBusConnection *made = dbus_connection_open_private(place, &error);

	good(!!made);
	good(dbus_bus_register(made, &error));
	return made;
}

static void append(DBusMessage *message, size_t len)
{
	const unsigned char *bytes = payload;

	good(dbus_message_append_args(message, DBUS_TYPE_ARRAY, DBUS_TYPE_BYTE, &bytes, (int)len,
				      DBUS_TYPE_INVALID));
}

static size_t payload_len(DBusMessage *message)
{
	const unsigned char *bytes;
	int len;

	good(dbus_message_get_args(message, &error, DBUS_TYPE_ARRAY, DBUS_TYPE_BYTE, &bytes, &len,
				   DBUS_TYPE_INVALID));
	return len;
}

/* Sends a message and forgets it. */
static void send_off(DBusConnection *by, DBusMessage *message)
{
	good(dbus_connection_send(by, message, NULL));
	dbus_connection_flush(by);
	dbus_message_unref(message);
}

/* The next message, once there is one. */
static DBusMessage *next(DBusConnection *on)
{
	DBusMessage *message;

	while (!(message = dbus_connection_pop_message(on)))
		if (!dbus_connection_read_write(on, -1))
			fail("the broker has closed the connection");
	return message;
}

static void answer(void)
{
	DBusConnection *here = connection();

	good(dbus_bus_request_name(here, interface, 0, &error) > 0);
	ready();
	for (;;) {
		DBusMessage *request = next(here), *reply;

		if (dbus_message_is_method_call(request, interface, "Ask")) {
			reply = dbus_message_new_method_return(request);
			append(reply, payload_len(request));
			send_off(here, reply);
		}
		dbus_message_unref(request);
	}
}

static void start(void)
{
	asker = connection();
}

static void ask(size_t len)
{
	DBusMessage *request, *reply;

	request = dbus_message_new_method_call(interface, object, interface, "Ask");
	append(request, len);
	reply = dbus_connection_send_with_reply_and_block(asker, request, DBUS_TIMEOUT_INFINITE,
							  &error);
	good(!!reply);
	if (payload_len(reply) != len)
		fail("a reply of another length");
	dbus_message_unref(request);
	dbus_message_unref(reply);
}

static void subscribe(int n)
{
	subscribers[n] = connection();
	dbus_bus_add_match(subscribers[n], rule, &error);
	good(!dbus_error_is_set(&error));
}

static void announce(int count)
{
	DBusMessage *signal = dbus_message_new_signal(object, interface, "Hit");

	(void)count;
	append(signal, ANNOUNCED);
	send_off(asker, signal);
}

static void receive(int n)
{
	DBusMessage *message;

	for (;;) {
		message = next(subscribers[n]);
		if (dbus_message_is_signal(message, interface, "Hit"))
			break;
		/* That it has its name, for example. */
		dbus_message_unref(message);
	}
	if (payload_len(message) != ANNOUNCED)
		fail("a signal of another length");
	dbus_message_unref(message);
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
