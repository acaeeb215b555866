// SPDX-License-Identifier: GPL-2.0
/* Tests of libkbus on a machine with the module. Each names the rule that it checks. */
#define _GNU_SOURCE
#include <fcntl.h>

#include "check.h"

char bus[32];

static int listens_to_names_and_wildcards(void)
{
	int exact = join(), star = join(), percent = join(), sender = join();
	struct kbus_msg m;
	__u64 id;

	CHECK(!kbus_listen(exact, "$.A.B"));
	CHECK(!kbus_listen(star, "$.*"));
	CHECK(!kbus_listen(percent, "$.%"));
	CHECK(!kbus_send(sender, "$.A.B", "one", 3, NULL));
	CHECK(!kbus_send(sender, "$.A", "two", 3, NULL));
	CHECK(get32(exact, KBUS_UNREAD) == 1 && get32(percent, KBUS_UNREAD) == 1);
	CHECK(!kbus_recv(exact, &m, NULL, 0, 0));
	CHECK(!strcmp(m.name, "$.A.B") && text_is(&m, "one"));
	CHECK(!kbus_peer_id(sender, &id) && m.sender == id);
	kbus_msg_free(&m);
	CHECK(!kbus_recv(percent, &m, NULL, 0, 0) && text_is(&m, "two"));
	kbus_msg_free(&m);
	CHECK(!kbus_recv(star, &m, NULL, 0, 0) && text_is(&m, "one"));
	kbus_msg_free(&m);
	CHECK(!kbus_unlisten(star, "$.*"));
	FAILS(kbus_recv(star, &m, NULL, 0, MSG_DONTWAIT), KBUS_OP_RECV, EAGAIN, "no message");
	FAILS(kbus_unlisten(star, "$.*"), KBUS_OP_UNLISTEN, EINVAL, "no such binding");
	return 1;
}

static int payload_is_in_the_buffer_or_whole_elsewhere(void)
{
	int fd = join();
	char small[4], enough[KBUS_MSG_SIZE_DEFAULT];
	struct kbus_msg m;

	CHECK(!kbus_listen(fd, "$.A"));
	CHECK(!kbus_send(fd, "$.A", "1234", 4, NULL));
	CHECK(!kbus_send(fd, "$.A", "12345", 5, NULL));
	CHECK(!kbus_send(fd, "$.A", "123456", 6, NULL));
	CHECK(!kbus_send(fd, "$.A", NULL, 0, NULL));
	CHECK(!kbus_recv(fd, &m, small, sizeof(small), 0));
	CHECK(m.data == small && text_is(&m, "1234"));
	kbus_msg_free(&m);
	CHECK(!kbus_recv(fd, &m, small, sizeof(small), 0));
	CHECK(m.data != small && text_is(&m, "12345"));
	kbus_msg_free(&m);
	CHECK(!kbus_recv(fd, &m, enough, sizeof(enough), 0));
	CHECK(m.data == enough && text_is(&m, "123456"));
	kbus_msg_free(&m);
	kbus_msg_free(&m);
	CHECK(!kbus_recv(fd, &m, NULL, 0, 0) && m.data && !m.len);
	kbus_msg_free(&m);
	return 1;
}

static int a_mebibyte_where_the_owner_allows(void)
{
	int fd = join();
	size_t len = 1 << 20, i;
	char *data = malloc(len), small[100];
	struct kbus_msg m;

	for (i = 0; i < len; i++)
		data[i] = i * 7 + i / 256;
	CHECK(!kbus_listen(fd, "$.A"));
	FAILS(kbus_send(fd, "$.A", data, len, NULL), KBUS_OP_SEND, EMSGSIZE, "larger than");
	CHECK(!set32(fd, KBUS_MAX_MSG_SIZE, len));
	CHECK(!kbus_send(fd, "$.A", data, len, NULL));
	/* It was allowed when it was sent. */
	CHECK(!set32(fd, KBUS_MAX_MSG_SIZE, 100));
	CHECK(!kbus_recv(fd, &m, small, sizeof(small), 0));
	CHECK(m.len == len && !memcmp(m.data, data, len));
	kbus_msg_free(&m);
	free(data);
	return 1;
}

static int long_names_both_ways(void)
{
	static const size_t lengths[] = { 73, 74, 500, KBUS_NAME_MAX };
	struct kbus_opts opts = { 0 };
	struct kbus_msg m;
	char name[KBUS_NAME_MAX + 2];
	size_t i;

	for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		int server = join(), client = join();

		memset(name, 'a' + (int)i, sizeof(name));
		memcpy(name, "$.", 2);
		name[lengths[i]] = '\0';
		CHECK(!kbus_replier(server, name));
		CHECK(!kbus_listen(server, name));
		CHECK(!kbus_send(client, name, "s", 1, NULL));
		CHECK(!kbus_recv(server, &m, NULL, 0, 0) && !strcmp(m.name, name));
		kbus_msg_free(&m);
		CHECK(!kbus_peer_id(server, &opts.to));
		CHECK(!kbus_request(client, name, "r", 1, &opts, NULL));
		CHECK(!kbus_recv(server, &m, NULL, 0, 0) && !strcmp(m.name, name));
		CHECK(!kbus_reply(server, &m, "a", 1, NULL));
		kbus_msg_free(&m);
		CHECK(!kbus_recv(client, &m, NULL, 0, 0) && !strcmp(m.name, name));
		CHECK(m.sender == opts.to && text_is(&m, "a"));
		kbus_msg_free(&m);
		close(server);
	}
	memset(name, 'a', sizeof(name));
	memcpy(name, "$.", 2);
	name[KBUS_NAME_MAX + 1] = '\0';
	FAILS(kbus_send(join(), name, "", 0, NULL), KBUS_OP_SEND, ENAMETOOLONG, "1000");
	FAILS(kbus_listen(join(), name), KBUS_OP_LISTEN, ENAMETOOLONG, "1000");
	return 1;
}

/* A file that nobody else has, with a text. */
static int file_of(const char *text)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		exit(1);
	return fd;
}

static int file_has(int fd, const char *text)
{
	char buf[16] = "";

	return pread(fd, buf, sizeof(buf) - 1, 0) >= 0 && !strcmp(buf, text);
}

static int descriptors_both_ways(void)
{
	int server = join(), client = join(), fds[2], kept;
	struct kbus_opts opts = { .fds = fds, .nfds = 1 };
	struct kbus_msg m;

	fds[0] = file_of("one");
	fds[1] = file_of("two");
	CHECK(!kbus_replier(server, "$.File"));
	CHECK(!kbus_request(client, "$.File", NULL, 0, &opts, NULL));
	CHECK(!kbus_recv(server, &m, NULL, 0, 0) && !m.nfds && (m.flags & KBUS_HAD_FDS));
	CHECK(!kbus_ignore(server, &m));
	CHECK(!set32(server, KBUS_PASS, KBUS_PASS_RIGHTS));
	CHECK(!set32(client, KBUS_PASS, KBUS_PASS_RIGHTS));
	CHECK(!kbus_recv(client, &m, NULL, 0, 0));
	CHECK(!kbus_request(client, "$.File", NULL, 0, &opts, NULL));
	CHECK(!kbus_recv(server, &m, NULL, 0, 0) && m.nfds == 1 && file_has(m.fds[0], "one"));
	CHECK(fcntl(m.fds[0], F_GETFD) == FD_CLOEXEC);
	opts.nfds = 2;
	CHECK(!kbus_reply(server, &m, NULL, 0, &opts));
	kbus_msg_free(&m);
	CHECK(fcntl(m.fds[0], F_GETFD) == -1);
	CHECK(!kbus_recv(client, &m, NULL, 0, 0) && m.nfds == 2);
	CHECK(file_has(m.fds[0], "one") && file_has(m.fds[1], "two"));
	kept = m.fds[1];
	m.fds[1] = -1;
	kbus_msg_free(&m);
	CHECK(file_has(kept, "two"));
	fds[0] = server;
	opts.nfds = 1;
	FAILS(kbus_send(client, "$.A", NULL, 0, &opts), KBUS_OP_SEND, EOPNOTSUPP, "cannot be passed");
	return 1;
}

static int says_who(void)
{
	CHECK(!setresgid(1234, 1234, 1234) && !setresuid(4321, 4321, 4321));
	CHECK(!kbus_send(join(), "$.Who", NULL, 0, NULL));
	return 1;
}

static int credentials_and_time_of_sending(void)
{
	int fd = join();
	struct kbus_msg m;
	pid_t pid;

	CHECK(!kbus_listen(fd, "$.Who"));
	CHECK(!kbus_send(fd, "$.Who", NULL, 0, NULL));
	CHECK(!kbus_recv(fd, &m, NULL, 0, 0) && !m.has_cred && !m.time.tv_sec && !m.time.tv_nsec);
	CHECK(!set32(fd, KBUS_PASS, KBUS_PASS_CRED | KBUS_PASS_TIME));
	pid = child(says_who);
	CHECK(good(pid));
	CHECK(!kbus_recv(fd, &m, NULL, 0, 0));
	CHECK(m.has_cred && m.pid == pid && m.uid == 4321 && m.gid == 1234);
	CHECK(m.time.tv_sec || m.time.tv_nsec);
	return 1;
}

static int urgent_comes_first(void)
{
	int fd = join();
	struct kbus_opts urgent = { .flags = KBUS_URGENT | 0xbeef0000 };
	char small[8];
	static char large[60000];
	struct kbus_msg m;

	CHECK(!kbus_listen(fd, "$.A"));
	CHECK(!kbus_send(fd, "$.A", "1", 1, NULL));
	CHECK(!kbus_send(fd, "$.A", large, sizeof(large), &urgent));
	CHECK(!kbus_recv(fd, &m, small, sizeof(small), 0));
	CHECK(m.len == sizeof(large) && m.flags == urgent.flags);
	kbus_msg_free(&m);
	CHECK(!kbus_recv(fd, &m, small, sizeof(small), 0) && text_is(&m, "1"));
	return 1;
}

/* What is to happen just before the library reads, once: the linker puts this before recvmsg(). */
static void (*before_reading)(void);
ssize_t __real_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
	void (*act)(void) = before_reading;

	before_reading = NULL;
	if (act)
		act();
	return __real_recvmsg(fd, msg, flags);
}

static void send_urgent(void)
{
	static const char large[60000];
	struct kbus_opts urgent = { .flags = KBUS_URGENT };

	kbus_send(join(), "$.A", large, sizeof(large), &urgent);
}

static int urgent_one_that_overtakes_is_not_cut(void)
{
	int fd = join();
	char small[8];
	struct kbus_msg m;

	CHECK(!kbus_listen(fd, "$.A"));
	CHECK(!kbus_send(fd, "$.A", "1", 1, NULL));
	before_reading = send_urgent;
	CHECK(!kbus_recv(fd, &m, small, sizeof(small), 0) && m.len == 60000);
	kbus_msg_free(&m);
	CHECK(!kbus_recv(fd, &m, small, sizeof(small), 0) && text_is(&m, "1"));
	return 1;
}

static int full_queue_fails_waits_or_loses(void)
{
	int full = join(), sender = kbus_open(bus, SOCK_NONBLOCK);
	struct kbus_opts fail = { .flags = KBUS_ALL_OR_FAIL }, wait = { .flags = KBUS_ALL_OR_WAIT };
	struct kbus_opts both = { .flags = KBUS_ALL_OR_FAIL | KBUS_ALL_OR_WAIT };
	struct kbus_msg m;

	CHECK(!set32(full, KBUS_QUEUE_LEN, 1));
	CHECK(!kbus_listen(full, "$.A"));
	CHECK(!kbus_send(sender, "$.A", "1", 1, &fail));
	FAILS(kbus_send(sender, "$.A", "2", 1, &fail), KBUS_OP_SEND, EBUSY, "full");
	FAILS(kbus_send(sender, "$.A", "3", 1, &wait), KBUS_OP_SEND, EAGAIN, "full");
	FAILS(kbus_send(sender, "$.A", "4", 1, &both), KBUS_OP_SEND, EINVAL, "exclude");
	CHECK(!kbus_send(sender, "$.A", "5", 1, NULL));
	CHECK(!kbus_send(sender, "$.A", "6", 1, NULL));
	CHECK(!kbus_recv(full, &m, NULL, 0, 0) && text_is(&m, "1") && !m.lost);
	kbus_msg_free(&m);
	CHECK(!kbus_send(sender, "$.A", "7", 1, &wait));
	CHECK(!kbus_recv(full, &m, NULL, 0, 0) && text_is(&m, "7") && m.lost == 2);
	kbus_msg_free(&m);
	return 1;
}

static int malformed_names(void)
{
	static const char * const names[] = {
		"", "$", "$.", "A", "$.A.", "$..A", "$.A-B", "$.A@1", "$.A#1", "$.A@1#1",
	};
	int fd = join();
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		FAILS(kbus_listen(fd, names[i]), KBUS_OP_LISTEN, EBADMSG, "malformed");
		FAILS(kbus_replier(fd, names[i]), KBUS_OP_REPLIER, EBADMSG, "malformed");
		FAILS(kbus_send(fd, names[i], NULL, 0, NULL), KBUS_OP_SEND, EBADMSG, "malformed");
		FAILS(kbus_request(fd, names[i], NULL, 0, NULL, NULL), KBUS_OP_REQUEST, EBADMSG,
		      "malformed");
	}
	FAILS(kbus_send(fd, "$.*", NULL, 0, NULL), KBUS_OP_SEND, EBADMSG, "wildcard");
	FAILS(kbus_send(fd, "$.KBUS.Mine", NULL, 0, NULL), KBUS_OP_SEND, EPERM, "belong to the bus");
	return 1;
}

static int joins_as_another_user(void)
{
	CHECK(!setresuid(4321, 4321, 4321));
	FAILS(kbus_open(bus, 0), KBUS_OP_OPEN, EACCES, "may not write");
	return 1;
}

static int buses_that_cannot_be_joined(void)
{
	char name[120] = "@";
	int fd = join();

	CHECK(!set32(fd, KBUS_BUS_MODE, 0600));
	CHECK(good(child(joins_as_another_user)));
	FAILS(kbus_open("kbus-0", 0), KBUS_OP_OPEN, EINVAL, "@NAME");
	FAILS(kbus_open("@", 0), KBUS_OP_OPEN, EINVAL, "@NAME");
	FAILS(kbus_open(bus, SOCK_STREAM), KBUS_OP_OPEN, EINVAL, "");
	memset(name + 1, 'x', 108);
	FAILS(kbus_open(name, 0), KBUS_OP_OPEN, ENAMETOOLONG, "107");
	name[108] = '\0';
	CHECK(kbus_open(name, 0) >= 0);
	FAILS(kbus_open("/none/bus", 0), KBUS_OP_OPEN, ENOENT, "folder");
	FAILS(kbus_open("/init", 0), KBUS_OP_OPEN, ECONNREFUSED, "no socket");
	return 1;
}

static int bus_of_the_environment_and_at_a_path(void)
{
	static const char path[] = "/tmp/c-test-bus";
	struct kbus_msg m;
	int one, two;

	setenv("KBUS_BUS", path, 1);
	one = kbus_open(NULL, 0);
	two = kbus_open(path, 0);
	unsetenv("KBUS_BUS");
	CHECK(one >= 0 && two >= 0);
	CHECK(!kbus_listen(one, "$.A"));
	CHECK(!kbus_send(two, "$.A", "p", 1, NULL));
	CHECK(!kbus_recv(one, &m, NULL, 0, MSG_DONTWAIT) && text_is(&m, "p"));
	kbus_msg_free(&m);
	CHECK(!kbus_listen(kbus_open(NULL, 0), "$.A"));
	unlink(path);
	return 1;
}

static int shut_down_socket_says_so(void)
{
	int fd = join();
	struct kbus_msg m;

	CHECK(!shutdown(fd, SHUT_RDWR));
	FAILS(kbus_recv(fd, &m, NULL, 0, 0), KBUS_OP_RECV, ESHUTDOWN, "shut down");
	FAILS(kbus_send(fd, "$.A", NULL, 0, NULL), KBUS_OP_SEND, EPIPE, "shut down");
	close(fd);
	FAILS(kbus_listen(fd, "$.A"), KBUS_OP_LISTEN, EBADF, "closed");
	return 1;
}

static int sync_is_not_before_what_was_sent(void)
{
	int fd = join();
	struct kbus_msg m;
	__u64 id;

	CHECK(!kbus_listen(fd, "$.A"));
	CHECK(!kbus_send(fd, "$.A", NULL, 0, NULL));
	CHECK(!kbus_sync(fd, &id));
	CHECK(!kbus_recv(fd, &m, NULL, 0, 0) && m.id && m.id <= id);
	return 1;
}

static int via_goes_through(void)
{
	int fd = join();
	struct kbus_via via = { .orig_net = 1, .orig_peer = 2, .final_net = 3, .final_peer = ~0ULL };
	struct kbus_opts opts = { .via = &via };
	struct kbus_msg m;

	CHECK(!kbus_listen(fd, "$.A"));
	CHECK(!kbus_send(fd, "$.A", NULL, 0, &opts));
	CHECK(!kbus_recv(fd, &m, NULL, 0, 0) && !memcmp(&m.via, &via, sizeof(via)));
	return 1;
}

static int each_error_has_a_sentence(void)
{
	int error;
	unsigned int op;

	for (error = 1; error < 200; error++)
		for (op = KBUS_OP_OPEN; op <= KBUS_OP_IGNORE; op++)
			CHECK(*kbus_strerror((enum kbus_op)op, error));
	return 1;
}

#define TEST(name) { #name, name }

static const struct {
	const char *name;
	int (*run)(void);
} tests[] = {
	TEST(listens_to_names_and_wildcards),
	TEST(payload_is_in_the_buffer_or_whole_elsewhere),
	TEST(a_mebibyte_where_the_owner_allows),
	TEST(request_and_reply),
	TEST(ignored_request_is_told),
	TEST(call_gets_a_reply_and_takes_nothing_else),
	TEST(call_says_why_there_is_no_reply),
	TEST(call_ends_with_its_time),
	TEST(replier_that_is_killed),
	TEST(long_names_both_ways),
	TEST(descriptors_both_ways),
	TEST(credentials_and_time_of_sending),
	TEST(urgent_comes_first),
	TEST(urgent_one_that_overtakes_is_not_cut),
	TEST(full_queue_fails_waits_or_loses),
	TEST(stateful_request_after_a_restart),
	TEST(reply_too_long_is_still_owed),
	TEST(malformed_names),
	TEST(buses_that_cannot_be_joined),
	TEST(sandboxed_program_has_the_other_form),
	TEST(bus_of_the_environment_and_at_a_path),
	TEST(shut_down_socket_says_so),
	TEST(sync_is_not_before_what_was_sent),
	TEST(via_goes_through),
	TEST(each_error_has_a_sentence),
};

int main(void)
{
	size_t count = sizeof(tests) / sizeof(tests[0]), i;
	int failed = 0;

	setvbuf(stdout, NULL, _IONBF, 0);
	printf("KTAP version 1\n1..%zu\n", count);
	for (i = 0; i < count; i++) {
		pid_t pid;
		int ok;

		/* A process of its own, with a bus of its own: what it has open goes with it. */
		snprintf(bus, sizeof(bus), "@c-%zu", i);
		pid = fork();
		if (!pid) {
			alarm(5 * LIMIT / 1000);
			_exit(tests[i].run() ? 0 : 1);
		}
		ok = good(pid);
		failed += !ok;
		printf("%s %zu c::%s\n", ok ? "ok" : "not ok", i + 1, tests[i].name);
	}
	return failed != 0;
}
