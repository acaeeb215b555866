// SPDX-License-Identifier: GPL-2.0
/* A bus: sendto() and recvfrom(), as in kbus-bench. */
#include "datagram.h"

#include <linux/kbus.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

static const char bus[] = "\0bench";
static int asker, subscribers[MOST];

static socklen_t fill(struct sockaddr_un *to, const char *bytes, size_t len)
{
	memset(to, 0, sizeof(*to));
	to->sun_family = AF_UNIX;
	memcpy(to->sun_path, bytes, len);
	return offsetof(struct sockaddr_un, sun_path) + len;
}

static void set(int fd, int option, const void *value, socklen_t len)
{
	CHECK("setsockopt", setsockopt(fd, SOL_KBUS, option, value, len) == 0);
}

static void set_number(int fd, int option, __u32 value)
{
	set(fd, option, &value, sizeof(value));
}

static int on_bus(void)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM, PROTO_KBUS);
	struct sockaddr_un at;
	socklen_t len = fill(&at, bus, sizeof(bus) - 1);

	CHECK("socket", fd >= 0);
	CHECK("bind", bind(fd, (struct sockaddr *)&at, len) == 0);
	set_number(fd, KBUS_RECV_INFO, 0);
	return fd;
}

static void answer(void)
{
	int fd = on_bus();

	set(fd, KBUS_REPLIER, "$.Bench.Ask", 11);
	answer_datagrams(fd);
}

static void start(void)
{
	asker = on_bus();
}

static void send_to(const char *name, size_t len)
{
	struct sockaddr_un to;
	socklen_t to_len = fill(&to, name, strlen(name));

	send_datagram(asker, &to, to_len, len);
}

static void ask(size_t len)
{
	static size_t last;

	if (len != last) {
		set_number(asker, KBUS_SEND_FLAGS, KBUS_REQUEST);
		set_number(asker, KBUS_REPLY_MAX, len);
		last = len;
	}
	send_to("$.Bench.Ask", len);
	receive_datagram(asker, len);
}

static void subscribe(int n)
{
	subscribers[n] = on_bus();
	set(subscribers[n], KBUS_LISTEN, "$.Bench.Hit", 11);
	set_number(asker, KBUS_SEND_FLAGS, 0);
}

static void announce(int count)
{
	(void)count;
	send_to("$.Bench.Hit", ANNOUNCED);
}

static void receive(int n)
{
	receive_datagram(subscribers[n], ANNOUNCED);
}

const struct peer peer = {
	.guarantees =
		"what the manual says: one order for all, an answer to each request whoever "
		"dies, losses counted",
	.answer = answer,
	.start = start,
	.ask = ask,
	.subscribe = subscribe,
	.announce = announce,
	.receive = receive,
};
