// SPDX-License-Identifier: GPL-2.0
/* Tests of requests, replies, statuses and calls. Each names the rule that it checks. */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include "check.h"

int request_and_reply(void)
{
	int server = join(), client = join();
	struct kbus_opts opts = { .cookie = 7 };
	struct kbus_msg m, reply;
	__u64 id;

	CHECK(!kbus_replier(server, "$.Echo"));
	FAILS(kbus_replier(client, "$.Echo"), KBUS_OP_REPLIER, EEXIST, "replier already");
	CHECK(!kbus_request(client, "$.Echo", "hello", 5, &opts, &id));
	CHECK(!kbus_recv(server, &m, NULL, 0, 0));
	CHECK((m.flags & KBUS_YOU_REPLY) && m.id == id && text_is(&m, "hello") && !m.cookie);
	CHECK(!kbus_reply(server, &m, "bye", 3, NULL));
	FAILS(kbus_reply(server, &m, "", 0, NULL), KBUS_OP_REPLY, ECONNREFUSED, "does not owe");
	FAILS(kbus_ignore(server, &m), KBUS_OP_IGNORE, ECONNREFUSED, "does not owe");
	CHECK(!kbus_recv(client, &reply, NULL, 0, 0));
	CHECK((reply.flags & KBUS_REPLY) && reply.in_reply_to == id && reply.cookie == 7);
	CHECK(text_is(&reply, "bye") && !strcmp(reply.name, "$.Echo"));
	kbus_msg_free(&m);
	kbus_msg_free(&reply);
	CHECK(!kbus_unreplier(server, "$.Echo"));
	CHECK(!kbus_replier(client, "$.Echo"));
	return 1;
}

int ignored_request_is_told(void)
{
	int server = join(), client = join();
	struct kbus_msg m;

	CHECK(!kbus_replier(server, "$.Echo"));
	CHECK(!kbus_request(client, "$.Echo", NULL, 0, NULL, NULL));
	CHECK(!kbus_recv(server, &m, NULL, 0, 0));
	CHECK(!kbus_ignore(server, &m));
	kbus_msg_free(&m);
	CHECK(!kbus_recv(client, &m, NULL, 0, 0));
	CHECK((m.flags & KBUS_STATUS) && m.error == KBUS_IGNORED);
	/* So is one that was read by a socket that is closed. */
	CHECK(!kbus_request(client, "$.Echo", NULL, 0, NULL, NULL));
	CHECK(!kbus_recv(server, &m, NULL, 0, 0));
	close(server);
	CHECK(!kbus_recv(client, &m, NULL, 0, 0));
	CHECK((m.flags & KBUS_STATUS) && m.error == KBUS_IGNORED);
	return 1;
}

struct caller {
	pthread_t thread;
	int fd;
	int timeout;
	int result;
	int error;
	struct kbus_msg msg;
};

static void *calls(void *arg)
{
	struct caller *c = arg;

	c->result = kbus_call(c->fd, "$.Echo", "hello", 5, NULL, &c->msg, c->timeout);
	c->error = errno;
	return NULL;
}

static int start_call(struct caller *c, int timeout)
{
	c->fd = join();
	c->timeout = timeout;
	return pthread_create(&c->thread, NULL, calls, c);
}

int call_gets_a_reply_and_takes_nothing_else(void)
{
	int server = join();
	static struct caller c;
	struct kbus_msg m;

	CHECK(!kbus_replier(server, "$.Echo"));
	CHECK(!start_call(&c, LIMIT));
	CHECK(!kbus_listen(c.fd, "$.News"));
	CHECK(!kbus_recv(server, &m, NULL, 0, 0));
	CHECK(!kbus_send(server, "$.News", "news", 4, NULL));
	CHECK(!kbus_reply(server, &m, m.data, m.len, NULL));
	kbus_msg_free(&m);
	CHECK(!pthread_join(c.thread, NULL));
	CHECK(!c.result && text_is(&c.msg, "hello"));
	kbus_msg_free(&c.msg);
	CHECK(!kbus_recv(c.fd, &m, NULL, 0, 0) && text_is(&m, "news"));
	kbus_msg_free(&m);
	return 1;
}

int call_says_why_there_is_no_reply(void)
{
	static struct caller c;
	struct pollfd p = { .events = POLLIN };
	struct kbus_msg m;
	int how;

	for (how = 0; how < 3; how++) {
		int server = join();

		CHECK(!kbus_replier(server, "$.Echo"));
		CHECK(!start_call(&c, LIMIT));
		p.fd = server;
		CHECK(poll(&p, 1, LIMIT) == 1);
		if (how == 0) {
			CHECK(!kbus_unreplier(server, "$.Echo"));
		} else if (how == 1) {
			CHECK(!kbus_recv(server, &m, NULL, 0, 0));
			CHECK(!kbus_ignore(server, &m));
			kbus_msg_free(&m);
		}
		close(server);
		CHECK(!pthread_join(c.thread, NULL));
		CHECK(c.result == -1 && (c.msg.flags & KBUS_STATUS));
		CHECK(c.error == (how == 0 ? ECONNABORTED : how == 1 ? ECANCELED : ECONNRESET));
		CHECK(strstr(kbus_strerror(KBUS_OP_CALL, c.error),
			     how == 0 ? "stopped replying" : how == 1 ? "gave it up" : "died"));
	}
	FAILS(kbus_call(c.fd, "$.Echo", NULL, 0, NULL, &m, LIMIT), KBUS_OP_CALL, EADDRNOTAVAIL,
	      "nobody is replier");
	return 1;
}

int call_ends_with_its_time(void)
{
	int server = join(), client = join();
	struct kbus_msg m;

	CHECK(!kbus_replier(server, "$.Echo"));
	FAILS(kbus_call(client, "$.Echo", NULL, 0, NULL, &m, 20), KBUS_OP_CALL, ETIMEDOUT,
	      "no reply in time");
	CHECK(!kbus_recv(server, &m, NULL, 0, 0));
	FAILS(kbus_reply(server, &m, NULL, 0, NULL), KBUS_OP_REPLY, EADDRNOTAVAIL, "gone");
	kbus_msg_free(&m);
	return 1;
}

static int gate[2];
static int read_first;

static int serves_until_it_is_killed(void)
{
	int fd = join();
	struct kbus_msg m;

	CHECK(!kbus_replier(fd, "$.Echo"));
	CHECK(write(gate[1], "b", 1) == 1);
	if (read_first) {
		CHECK(!kbus_recv(fd, &m, NULL, 0, 0));
		CHECK(write(gate[1], "r", 1) == 1);
	}
	pause();
	return 1;
}

int replier_that_is_killed(void)
{
	int client = join();
	struct kbus_msg m;
	char byte;
	pid_t pid;

	for (read_first = 0; read_first < 2; read_first++) {
		CHECK(!pipe(gate));
		pid = child(serves_until_it_is_killed);
		CHECK(read(gate[0], &byte, 1) == 1);
		CHECK(!kbus_request(client, "$.Echo", NULL, 0, NULL, NULL));
		if (read_first)
			CHECK(read(gate[0], &byte, 1) == 1);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		CHECK(!kbus_recv(client, &m, NULL, 0, MSG_DONTWAIT));
		CHECK(m.error == (read_first ? KBUS_IGNORED : KBUS_GONE_AWAY));
		kbus_msg_free(&m);
	}
	return 1;
}

int stateful_request_after_a_restart(void)
{
	int server = join(), client = join();
	struct kbus_opts opts = { 0 };
	struct kbus_msg m;

	CHECK(!kbus_replier(server, "$.Echo"));
	CHECK(!kbus_peer_id(server, &opts.to));
	CHECK(!kbus_request(client, "$.Echo", NULL, 0, &opts, NULL));
	CHECK(!kbus_recv(server, &m, NULL, 0, 0) && m.to == opts.to);
	close(server);
	server = join();
	CHECK(!kbus_replier(server, "$.Echo"));
	FAILS(kbus_request(client, "$.Echo", NULL, 0, &opts, NULL), KBUS_OP_REQUEST, EPIPE,
	      "another socket");
	FAILS(kbus_call(client, "$.Echo", NULL, 0, &opts, &m, LIMIT), KBUS_OP_CALL, EPIPE,
	      "another socket");
	FAILS(kbus_send(client, "$.Echo", NULL, 0, &opts), KBUS_OP_SEND, EINVAL, "argument");
	CHECK(!get32(server, KBUS_UNREAD));
	return 1;
}

int reply_too_long_is_still_owed(void)
{
	int server = join(), client = join(), room = 4096;
	struct kbus_opts opts = { .reply_max = 10 };
	static char data[8192];
	struct kbus_msg m;

	CHECK(!setsockopt(client, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)));
	CHECK(!kbus_listen(client, "$.Fill"));
	CHECK(!kbus_replier(server, "$.Echo"));
	CHECK(!kbus_request(client, "$.Echo", NULL, 0, &opts, NULL));
	CHECK(!kbus_send(server, "$.Fill", data, sizeof(data), NULL));
	CHECK(!kbus_recv(server, &m, NULL, 0, 0));
	FAILS(kbus_reply(server, &m, data, 100, NULL), KBUS_OP_REPLY, EMSGSIZE, "still owed");
	CHECK(!kbus_reply(server, &m, data, 10, NULL));
	kbus_msg_free(&m);
	CHECK(!kbus_recv(client, &m, NULL, 0, 0) && m.len == sizeof(data));
	kbus_msg_free(&m);
	CHECK(!kbus_recv(client, &m, NULL, 0, 0) && m.len == 10);
	kbus_msg_free(&m);
	return 1;
}

static int sandboxed(void)
{
	int fd, other;
	struct kbus_msg m;
	static struct caller c;

	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK(socket(AF_UNIX, SOCK_DGRAM, PROTO_KBUS) == -1 && errno == EPROTONOSUPPORT);
	fd = kbus_open(bus, 0);
	CHECK(fd >= 0);
	other = kbus_open(bus, 0);
	CHECK(!kbus_replier(other, "$.Echo"));
	CHECK(!start_call(&c, LIMIT));
	CHECK(!kbus_recv(other, &m, NULL, 0, 0));
	CHECK(!kbus_reply(other, &m, m.data, m.len, NULL));
	CHECK(!pthread_join(c.thread, NULL));
	CHECK(!c.result && text_is(&c.msg, "hello"));
	return 1;
}

int sandboxed_program_has_the_other_form(void)
{
	return good(child(sandboxed));
}
