/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests share. */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <kbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Against hanging only: no verdict depends on it. */
#define LIMIT 60000

/* Ends the test that it stands in. */
#define CHECK(what) do { \
	if (!(what)) { \
		printf("# line %d: not so: %s (errno %d: %s)\n", __LINE__, #what, errno, \
		       strerror(errno)); \
		return 0; \
	} \
} while (0)

/* The operation fails with this errno, and its sentence has these words. */
#define FAILS(what, op, error, words) do { \
	errno = 0; \
	CHECK((what) == -1); \
	CHECK(errno == (error)); \
	CHECK(strstr(kbus_strerror(op, errno), words)); \
} while (0)

/* The bus of the test that runs. */
extern char bus[32];

static inline int join(void)
{
	int fd = kbus_open(bus, 0);

	if (fd < 0) {
		printf("# cannot join %s: %s\n", bus, kbus_strerror(KBUS_OP_OPEN, errno));
		exit(1);
	}
	return fd;
}

static inline int set32(int fd, int option, __u32 value)
{
	return setsockopt(fd, SOL_KBUS, option, &value, sizeof(value));
}

static inline __u32 get32(int fd, int option)
{
	__u32 value = 0;
	socklen_t len = sizeof(value);

	getsockopt(fd, SOL_KBUS, option, &value, &len);
	return value;
}

/* Runs a function in a process of its own. */
static inline pid_t child(int (*function)(void))
{
	pid_t pid = fork();

	if (!pid)
		_exit(function() ? 0 : 1);
	return pid;
}

static inline int good(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status);
}

static inline int text_is(const struct kbus_msg *m, const char *text)
{
	return m->len == strlen(text) && !memcmp(m->data, text, m->len);
}

/* The tests of requests.c. */
int request_and_reply(void);
int ignored_request_is_told(void);
int call_gets_a_reply_and_takes_nothing_else(void);
int call_says_why_there_is_no_reply(void);
int call_ends_with_its_time(void);
int replier_that_is_killed(void);
int stateful_request_after_a_restart(void);
int reply_too_long_is_still_owed(void);
int sandboxed_program_has_the_other_form(void);

#endif /* CHECK_H */
