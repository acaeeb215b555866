// SPDX-License-Identifier: MIT OR Apache-2.0
/* Sockets, bindings, sending and receiving. See kbus.h. */
#define _GNU_SOURCE
#include "kbus.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Room for struct kbus_info, which may grow. */
#define INFO_ROOM 256

/* Closes a descriptor, and leaves errno as it is. */
static void shut(int fd)
{
	int error = errno;

	close(fd);
	errno = error;
}

/* Frees memory, and leaves errno as it is. */
static void keep_errno_free(void *memory)
{
	int error = errno;

	free(memory);
	errno = error;
}

static int get(int fd, int option, void *value, socklen_t len)
{
	return getsockopt(fd, SOL_KBUS, option, value, &len);
}

/* The family of the addresses of a socket, of which there are two forms. */
static int family(int fd, sa_family_t *result)
{
	struct sockaddr_un un = { .sun_family = AF_UNSPEC };
	socklen_t len = sizeof(un);

	if (getsockname(fd, (struct sockaddr *)&un, &len))
		return -1;
	*result = un.sun_family;
	return 0;
}

static int make(sa_family_t *form, int flags)
{
	int fd;

	*form = AF_UNIX;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | flags, PROTO_KBUS);
	if (fd < 0 && errno == EPROTONOSUPPORT) {
		/* Not loaded, or refused to a program in a sandbox. */
		*form = AF_KBUS;
		fd = socket(AF_KBUS, SOCK_DGRAM | SOCK_CLOEXEC | flags, 0);
		/* Something else may have the number. */
		if (fd < 0 && (errno == EPROTONOSUPPORT || errno == ESOCKTNOSUPPORT))
			errno = EAFNOSUPPORT;
	}
	return fd;
}

int kbus_open(const char *bus, int flags)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t len;
	int fd;

	if (!bus)
		bus = getenv("KBUS_BUS");
	if (!bus || !*bus)
		bus = "@kbus-0";
	len = strlen(bus);
	if ((flags & ~SOCK_NONBLOCK) || (bus[0] == '@' ? len < 2 : !strchr(bus, '/'))) {
		errno = EINVAL;
		return -1;
	}
	if (len > sizeof(un.sun_path) - (bus[0] != '@')) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = make(&un.sun_family, flags);
	if (fd < 0)
		return -1;
	memcpy(un.sun_path, bus, len);
	if (bus[0] == '@')
		un.sun_path[0] = '\0';
	else if (len < sizeof(un.sun_path))
		len++;
	if (bind(fd, (struct sockaddr *)&un, offsetof(struct sockaddr_un, sun_path) + len)) {
		shut(fd);
		return -1;
	}
	return fd;
}

static int name_option(int fd, int option, const char *name)
{
	return setsockopt(fd, SOL_KBUS, option, name, strlen(name));
}

int kbus_listen(int fd, const char *name)
{
	return name_option(fd, KBUS_LISTEN, name);
}

int kbus_unlisten(int fd, const char *name)
{
	return name_option(fd, KBUS_UNLISTEN, name);
}

int kbus_replier(int fd, const char *name)
{
	return name_option(fd, KBUS_REPLIER, name);
}

int kbus_unreplier(int fd, const char *name)
{
	return name_option(fd, KBUS_UNREPLIER, name);
}

/* Ancillary data that grows part by part. */
struct control {
	_Alignas(struct cmsghdr) char bytes[CMSG_SPACE(KBUS_NAME_MAX) +
					    CMSG_SPACE(sizeof(struct kbus_send)) +
					    CMSG_SPACE(sizeof(struct kbus_via)) +
					    CMSG_SPACE(KBUS_FDS_MAX * sizeof(int))];
	size_t len;
};

static void add(struct control *c, int level, int type, const void *data, size_t len)
{
	struct cmsghdr *part = (struct cmsghdr *)(c->bytes + c->len);

	memset(part, 0, CMSG_SPACE(len));
	part->cmsg_level = level;
	part->cmsg_type = type;
	part->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(part), data, len);
	c->len += CMSG_SPACE(len);
}

/*
 * Sends to a name, to a peer, or a reply. A name travels beside the address
 * however short it is: one way for all, and an @ or # in it is an error.
 */
static int transmit(int fd, const char *name, __u32 flags, __u64 peer, __u64 request,
		    const void *data, size_t len, const struct kbus_opts *opts)
{
	static const struct kbus_opts none;
	struct sockaddr_un un;
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct kbus_send send = { .flags = flags };
	struct control c;

	if (!opts)
		opts = &none;
	c.len = 0;
	if (name) {
		size_t n = strlen(name);

		if (n > KBUS_NAME_MAX || !n) {
			errno = n ? ENAMETOOLONG : EBADMSG;
			return -1;
		}
		add(&c, SOL_KBUS, SCM_KBUS_NAME, name, n);
	}
	send.flags |= opts->flags;
	/* Always: else flags that were set for the socket would be added. */
	if (!request) {
		send.reply_max = opts->reply_max;
		send.cookie = opts->cookie;
	}
	add(&c, SOL_KBUS, SCM_KBUS_SEND, &send, sizeof(send));
	if (opts->via)
		add(&c, SOL_KBUS, SCM_KBUS_VIA, opts->via, sizeof(*opts->via));
	if (opts->nfds > KBUS_FDS_MAX) {
		errno = EINVAL;
		return -1;
	}
	if (opts->nfds)
		add(&c, SOL_SOCKET, SCM_RIGHTS, opts->fds, opts->nfds * sizeof(int));
	msg.msg_control = c.bytes;
	msg.msg_controllen = c.len;
	if (peer || request) {
		if (family(fd, &un.sun_family))
			return -1;
		if (request)
			snprintf(un.sun_path, sizeof(un.sun_path), "$.@%llx#%llx",
				 (unsigned long long)peer, (unsigned long long)request);
		else
			snprintf(un.sun_path, sizeof(un.sun_path), "$.@%llx",
				 (unsigned long long)peer);
		msg.msg_name = &un;
		msg.msg_namelen = offsetof(struct sockaddr_un, sun_path) + strlen(un.sun_path) + 1;
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

int kbus_send(int fd, const char *name, const void *data, size_t len,
	      const struct kbus_opts *opts)
{
	if (opts && ((opts->flags & KBUS_REQUEST) || opts->to)) {
		errno = EINVAL;
		return -1;
	}
	return transmit(fd, name, 0, 0, 0, data, len, opts);
}

int kbus_request(int fd, const char *name, const void *data, size_t len,
		 const struct kbus_opts *opts, __u64 *id)
{
	if (transmit(fd, name, KBUS_REQUEST, opts ? opts->to : 0, 0, data, len, opts))
		return -1;
	return id ? get(fd, KBUS_LAST_SENT, id, sizeof(*id)) : 0;
}

int kbus_reply(int fd, const struct kbus_msg *request, const void *data, size_t len,
	       const struct kbus_opts *opts)
{
	return transmit(fd, NULL, 0, request->sender, request->id, data, len, opts);
}

int kbus_ignore(int fd, const struct kbus_msg *request)
{
	return setsockopt(fd, SOL_KBUS, KBUS_IGNORE, &request->id, sizeof(request->id));
}

int kbus_peer_id(int fd, __u64 *id)
{
	return get(fd, KBUS_PEER_ID, id, sizeof(*id));
}

int kbus_sync(int fd, __u64 *id)
{
	return get(fd, KBUS_SYNC, id, sizeof(*id));
}

/* Copies what there is of a structure that may be longer in other versions. */
static void part_of(void *to, size_t size, const struct cmsghdr *part)
{
	size_t len = part->cmsg_len - CMSG_LEN(0);

	memcpy(to, CMSG_DATA(part), len < size ? len : size);
}

/* Takes the ancillary data apart. Returns whether it was a message at all. */
static int decode(struct kbus_msg *m, struct msghdr *msg, const struct sockaddr_un *un)
{
	struct kbus_info info = { 0 };
	struct cmsghdr *part;
	struct ucred cred;
	size_t len;
	int found = 0;

	if (msg->msg_namelen > offsetof(struct sockaddr_un, sun_path)) {
		len = msg->msg_namelen - offsetof(struct sockaddr_un, sun_path);
		memcpy(m->name, un->sun_path, len);
		m->name[strcspn(m->name, "@")] = '\0';
	}
	for (part = CMSG_FIRSTHDR(msg); part; part = CMSG_NXTHDR(msg, part)) {
		len = part->cmsg_len - CMSG_LEN(0);
		if (part->cmsg_level == SOL_KBUS && part->cmsg_type == SCM_KBUS_INFO) {
			part_of(&info, sizeof(info), part);
			found = 1;
		} else if (part->cmsg_level == SOL_KBUS && part->cmsg_type == SCM_KBUS_NAME) {
			memset(m->name, 0, sizeof(m->name));
			part_of(m->name, KBUS_NAME_MAX, part);
		} else if (part->cmsg_level == SOL_KBUS && part->cmsg_type == SCM_KBUS_VIA) {
			part_of(&m->via, sizeof(m->via), part);
		} else if (part->cmsg_level != SOL_SOCKET) {
			continue;
		} else if (part->cmsg_type == SCM_RIGHTS) {
			part_of(m->fds, sizeof(m->fds), part);
			m->nfds = len / sizeof(int);
		} else if (part->cmsg_type == SCM_CREDENTIALS && len == sizeof(cred)) {
			part_of(&cred, sizeof(cred), part);
			m->has_cred = 1;
			m->pid = cred.pid;
			m->uid = cred.uid;
			m->gid = cred.gid;
		} else if (part->cmsg_type == SCM_TIMESTAMPNS && len == sizeof(m->time)) {
			part_of(&m->time, sizeof(m->time), part);
		}
	}
	m->id = info.id;
	m->in_reply_to = info.in_reply_to;
	m->cookie = info.cookie;
	m->sender = info.sender;
	m->to = info.to;
	m->flags = info.flags;
	m->lost = info.lost;
	m->error = info.error;
	/* Descriptors for which this process has no room count as well. */
	if (msg->msg_flags & MSG_CTRUNC)
		m->flags |= KBUS_HAD_FDS;
	return found;
}

int kbus_recv(int fd, struct kbus_msg *m, void *buf, size_t size, int flags)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(KBUS_NAME_MAX) + CMSG_SPACE(INFO_ROOM) +
					      CMSG_SPACE(sizeof(struct kbus_via)) +
					      CMSG_SPACE(sizeof(struct ucred)) +
					      CMSG_SPACE(1024) + CMSG_SPACE(16) +
					      CMSG_SPACE(KBUS_FDS_MAX * sizeof(int))];
	struct sockaddr_un un;
	struct iovec iov;
	struct msghdr msg;
	ssize_t n;
	size_t need;
	__u32 limit;
	__s64 next;
	void *memory = NULL, *moved;

	memset(m, 0, offsetof(struct kbus_msg, fds));
	m->nfds = 0;
	memset((char *)m + offsetof(struct kbus_msg, has_cred), 0,
	       sizeof(*m) - offsetof(struct kbus_msg, has_cred));
	for (;;) {
		/* Waits, takes nothing, and keeps to SO_RCVTIMEO. */
		if (recv(fd, NULL, 0, MSG_PEEK | flags) < 0)
			goto fail;
		/*
		 * An urgent message may come before the one that is next now, so
		 * there must be room for the largest that may be sent. One that
		 * waits may be larger still, if the limit was higher.
		 */
		if (get(fd, KBUS_MAX_MSG_SIZE, &limit, sizeof(limit)) ||
		    get(fd, KBUS_NEXT_LEN, &next, sizeof(next)))
			goto fail;
		need = limit;
		if (next > 0 && (size_t)next > need)
			need = next;
		iov.iov_base = buf;
		iov.iov_len = size;
		if (!buf || size < need) {
			moved = realloc(memory, need);
			if (!moved)
				goto fail;
			memory = moved;
			iov.iov_base = memory;
			iov.iov_len = need;
		}
		memset(&msg, 0, sizeof(msg));
		msg.msg_name = &un;
		msg.msg_namelen = sizeof(un);
		msg.msg_iov = &iov;
		msg.msg_iovlen = 1;
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n >= 0)
			break;
		/* Another thread has it. Whoever must not wait does not. */
		if (errno != EAGAIN || (flags & MSG_DONTWAIT))
			goto fail;
	}
	if (!decode(m, &msg, &un)) {
		errno = ESHUTDOWN;
		goto fail;
	}
	if (msg.msg_flags & MSG_TRUNC) {
		/* The bus allowed larger ones between two of the calls above. */
		if (m->flags & KBUS_YOU_REPLY)
			kbus_ignore(fd, m);
		kbus_msg_free(m);
		errno = EMSGSIZE;
		goto fail;
	}
	m->len = n;
	m->data = iov.iov_base;
	if (memory && iov.iov_base == memory) {
		if (buf && (size_t)n <= size) {
			memcpy(buf, memory, n);
			m->data = buf;
		} else {
			/* At least a byte, and what is too much is given back. */
			moved = realloc(memory, n ? n : 1);
			m->data = m->memory = memory = moved ? moved : memory;
			return 0;
		}
	}
	free(memory);
	return 0;

fail:
	keep_errno_free(memory);
	return -1;
}

void kbus_msg_free(struct kbus_msg *m)
{
	unsigned int i;
	int error = errno;

	for (i = 0; i < m->nfds; i++)
		if (m->fds[i] >= 0)
			close(m->fds[i]);
	m->nfds = 0;
	free(m->memory);
	m->memory = NULL;
	m->data = NULL;
	m->len = 0;
	errno = error;
}

/* A second socket on the bus of another one, of the same form. */
static int second(int fd)
{
	struct sockaddr_un un;
	socklen_t len = sizeof(un);
	__u32 value;
	int other;

	if (getsockname(fd, (struct sockaddr *)&un, &len))
		return -1;
	if (len <= offsetof(struct sockaddr_un, sun_path)) {
		errno = ENOTCONN;
		return -1;
	}
	/* The NUL behind a path of 108 bytes is counted, and does not fit. */
	if (len > sizeof(un))
		len = sizeof(un);
	other = socket(un.sun_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
		       un.sun_family == AF_UNIX ? PROTO_KBUS : 0);
	if (other < 0)
		return -1;
	if (bind(other, (struct sockaddr *)&un, len) ||
	    get(fd, KBUS_PASS, &value, sizeof(value)) ||
	    setsockopt(other, SOL_KBUS, KBUS_PASS, &value, sizeof(value)) ||
	    get(fd, KBUS_REPLY_MAX, &value, sizeof(value)) ||
	    setsockopt(other, SOL_KBUS, KBUS_REPLY_MAX, &value, sizeof(value))) {
		shut(other);
		return -1;
	}
	return other;
}

static long long now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1000LL + at.tv_nsec / 1000000;
}

/* Waits for an event. The deadline is in milliseconds, or negative for none. */
static int await(int fd, short events, long long deadline)
{
	struct pollfd p = { .fd = fd, .events = events };
	long long left = -1;
	int n;

	if (deadline >= 0) {
		left = deadline - now();
		if (left < 0)
			left = 0;
	}
	n = poll(&p, 1, (int)left);
	if (!n)
		errno = ETIMEDOUT;
	return n > 0 ? 0 : -1;
}

static int status_errno(int error)
{
	switch (error) {
	case KBUS_GONE_AWAY:
		return ECONNRESET;
	case KBUS_IGNORED:
		return ECANCELED;
	case KBUS_UNBOUND:
		return ECONNABORTED;
	default:
		return EPROTO;
	}
}

static int call(int fd, const char *name, const void *data, size_t len,
		const struct kbus_opts *opts, struct kbus_msg *msg, long long deadline)
{
	/* Where memory is lacking poll() says at once that there may be room. */
	long long began, pause = 1;

	for (;;) {
		if (!kbus_request(fd, name, data, len, opts, NULL))
			break;
		if (errno != EAGAIN)
			return -1;
		began = now();
		if (await(fd, POLLOUT, deadline))
			return -1;
		if (now() - began < pause) {
			poll(NULL, 0, (int)pause);
			pause = pause < 128 ? 2 * pause : 250;
		}
	}
	/* It has no bindings: what comes is the answer. */
	while (kbus_recv(fd, msg, NULL, 0, MSG_DONTWAIT)) {
		if (errno != EAGAIN)
			return -1;
		if (await(fd, POLLIN, deadline))
			return -1;
	}
	if (msg->flags & KBUS_STATUS) {
		errno = status_errno(msg->error);
		return -1;
	}
	return 0;
}

int kbus_call(int fd, const char *name, const void *data, size_t len,
	      const struct kbus_opts *opts, struct kbus_msg *msg, int timeout)
{
	long long deadline = timeout < 0 ? -1 : now() + timeout;
	int own, result;

	memset(msg, 0, sizeof(*msg));
	own = second(fd);
	if (own < 0)
		return -1;
	result = call(own, name, data, len, opts, msg, deadline);
	shut(own);
	return result;
}
