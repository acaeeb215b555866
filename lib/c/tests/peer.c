// SPDX-License-Identifier: GPL-2.0
/* The C program of languages.test; see qemu/userland/languages/README.md. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <kbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void fail(const char *what, enum kbus_op op)
{
	fprintf(stderr, "peer-c: %s: %s\n", what, kbus_strerror(op, errno));
	exit(1);
}

static unsigned int adler32(const unsigned char *data, size_t len)
{
	unsigned int a = 1, b = 0;

	while (len--) {
		a = (a + *data++) % 65521;
		b = (b + a) % 65521;
	}
	return b << 16 | a;
}

static void show(const char *kind, const struct kbus_msg *m)
{
	unsigned int i;

	printf("%s name=%s sender=%llx len=%zu sum=%x fds=", kind, m->name,
	       (unsigned long long)m->sender, m->len, adler32(m->data, m->len));
	for (i = 0; i < m->nfds; i++) {
		char content[17] = "";

		if (pread(m->fds[i], content, 16, 0) < 0)
			perror("peer-c: pread");
		printf("%s%s", i ? "," : "", content);
	}
	printf(" uid=%u pid=%d user=%x urgent=%d\n", m->uid, m->pid, m->flags >> 16,
	       !!(m->flags & KBUS_URGENT));
}

static void ready(int fd)
{
	__u64 id = 0;

	kbus_peer_id(fd, &id);
	printf("ready %llx\n", (unsigned long long)id);
}

static int text_is(const struct kbus_msg *m, const char *text)
{
	return m->len == strlen(text) && !memcmp(m->data, text, m->len);
}

static void serve(int fd, const char *name)
{
	struct kbus_msg m;

	if (kbus_replier(fd, name))
		fail(name, KBUS_OP_REPLIER);
	ready(fd);
	while (!kbus_recv(fd, &m, NULL, 0, 0)) {
		struct kbus_opts opts = {
			.flags = m.flags & KBUS_USER_FLAGS, .fds = m.fds, .nfds = m.nfds,
		};

		show("request", &m);
		if (text_is(&m, "ignore"))
			kbus_ignore(fd, &m);
		else if (!text_is(&m, "hold") && kbus_reply(fd, &m, m.data, m.len, &opts))
			fail(m.name, KBUS_OP_REPLY);
		kbus_msg_free(&m);
	}
	fail("receive", KBUS_OP_RECV);
}

static void listens(int fd, const char *name, int count)
{
	struct kbus_msg m;

	if (kbus_listen(fd, name))
		fail(name, KBUS_OP_LISTEN);
	ready(fd);
	while (count--) {
		if (kbus_recv(fd, &m, NULL, 0, 0))
			fail("receive", KBUS_OP_RECV);
		show(m.flags & (KBUS_REQUEST | KBUS_REPLY) ? "copy" : "announcement", &m);
		kbus_msg_free(&m);
	}
}

static void result(int failed, const struct kbus_msg *m)
{
	if (!failed)
		show("reply", m);
	else if (errno == ETIMEDOUT)
		puts("timeout");
	else if (errno == ECONNRESET)
		puts("status gone-away");
	else if (errno == ECANCELED)
		puts("status ignored");
	else if (errno == ECONNABORTED)
		puts("status unbound");
	else
		printf("error %d\n", errno);
}

static void sends(int fd, int argc, char **argv)
{
	int i, timeout = 60000, fds[KBUS_FDS_MAX];
	struct kbus_opts opts = { .fds = fds };
	const char *name = argv[2], *text = "";
	char *data = NULL;
	size_t len = 0, n;
	struct kbus_msg m;

	for (i = 3; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (argv[i][0] != '-') {
			text = argv[i];
			continue;
		}
		if (!strcmp(argv[i], "--urgent")) {
			opts.flags |= KBUS_URGENT;
			continue;
		}
		i++;
		if (!strcmp(argv[i - 1], "--fd")) {
			fds[opts.nfds] = open(value, O_RDONLY | O_CLOEXEC);
			if (fds[opts.nfds++] < 0)
				perror(value);
		} else if (!strcmp(argv[i - 1], "--to")) {
			opts.to = strtoull(value, NULL, 16);
		} else if (!strcmp(argv[i - 1], "--user")) {
			opts.flags |= (__u32)strtoul(value, NULL, 16) << 16;
		} else if (!strcmp(argv[i - 1], "--timeout")) {
			timeout = atoi(value);
		} else if (!strcmp(argv[i - 1], "--size")) {
			len = strtoul(value, NULL, 10);
			data = malloc(len + 1);
			for (n = 0; data && n < len; n++)
				data[n] = n % 251;
		}
	}
	if (data)
		text = data;
	else
		len = strlen(text);
	if (!strcmp(argv[1], "request")) {
		result(kbus_call(fd, name, text, len, &opts, &m, timeout), &m);
		kbus_msg_free(&m);
	} else if (kbus_send(fd, name, text, len, &opts)) {
		printf("error %d\n", errno);
	} else {
		puts("sent");
	}
	free(data);
}

int main(int argc, char **argv)
{
	__u32 pass = KBUS_PASS_CRED | KBUS_PASS_RIGHTS;
	int fd;

	if (argc < 3) {
		fputs("usage: peer-c reply|request|listen|announce NAME ...\n", stderr);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	fd = kbus_open(NULL, 0);
	if (fd < 0)
		fail("the bus", KBUS_OP_OPEN);
	setsockopt(fd, SOL_KBUS, KBUS_PASS, &pass, sizeof(pass));
	if (!strcmp(argv[1], "reply"))
		serve(fd, argv[2]);
	else if (!strcmp(argv[1], "listen"))
		listens(fd, argv[2], argc > 3 ? atoi(argv[3]) : 1);
	else
		sends(fd, argc, argv);
	return 0;
}
