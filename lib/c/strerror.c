// SPDX-License-Identifier: MIT OR Apache-2.0
/* What an errno means for an operation. */
#define _GNU_SOURCE
#include "kbus.h"

#include <errno.h>
#include <string.h>

#define ALL (~0U)
#define OP(name) (1U << KBUS_OP_##name)

#define BINDS (OP(LISTEN) | OP(UNLISTEN) | OP(REPLIER) | OP(UNREPLIER))
#define ASKS (OP(REQUEST) | OP(CALL))
#define SENDS (OP(SEND) | ASKS)

/* The first line that fits is the answer. */
static const struct {
	int error;
	unsigned int ops;
	const char *text;
} table[] = {
	{ EAFNOSUPPORT, OP(OPEN) | OP(CALL),
	  "this kernel has no KBUS: as root, load the module with modprobe kbus" },
	{ EPROTONOSUPPORT, OP(OPEN) | OP(CALL),
	  "KBUS is not loaded (as root: modprobe kbus), or net.kbus.literal refuses it to a "
	  "program in a sandbox" },
	{ EINVAL, OP(OPEN),
	  "no bus is named so: an abstract one is @NAME, and one at a path has a slash in it" },
	{ ENAMETOOLONG, OP(OPEN), "the name of a bus has at most 107 bytes" },
	{ EACCES, OP(OPEN) | OP(CALL),
	  "this user may not write to the bus: its owner may allow that by KBUS_BUS_MODE "
	  "or, of a path, by chmod" },
	{ ECONNREFUSED, OP(OPEN), "what is at the path is no socket" },
	{ EADDRINUSE, OP(OPEN), "the path ends at a symbolic link to nowhere" },
	{ ENOENT, OP(OPEN) | OP(CALL), "the folder of the path does not exist" },
	{ EROFS, OP(OPEN), "nothing can be made in a file system that is read-only" },
	{ EDQUOT, OP(OPEN), "this user has as many buses as net.kbus.user_buses allows" },
	{ EMFILE, OP(OPEN) | OP(CALL), "this process has as many open files as it may (ulimit -n)" },
	{ ENFILE, OP(OPEN) | OP(CALL), "the machine has as many open files as it may" },

	{ EBADMSG, BINDS,
	  "the name is malformed: it is $. and words of letters and digits with single dots "
	  "between them, the last of which may be * or %" },
	{ EINVAL, OP(UNLISTEN) | OP(UNREPLIER), "this socket has no such binding" },
	{ EINVAL, OP(LISTEN) | OP(REPLIER), "the socket is shut down" },
	{ EDQUOT, BINDS,
	  "this user has as many bindings on this bus as net.kbus.user_bindings and "
	  "net.kbus.user_wide allow" },
	{ EEXIST, OP(REPLIER), "it has a replier already (/proc/net/kbus_bindings says who)" },
	{ EACCES, OP(REPLIER), "it would take names from the wildcard of another user's replier" },
	{ EAGAIN, BINDS, "a queue that listens to the bus's bind events is full" },
	{ EDEADLK, BINDS, "this socket listens to the bus's bind events and its own queue is full" },

	{ EBADMSG, ALL,
	  "the name is malformed: it is $. and words of letters and digits with single dots "
	  "between them, and no wildcard, to be sent to" },
	{ ENAMETOOLONG, ALL, "the name is longer than 1000 bytes" },
	{ EPERM, SENDS | BINDS, "$.KBUS and all names below it belong to the bus" },
	{ EINVAL, SENDS | OP(REPLY),
	  "an argument is out of range, or two flags exclude each other" },
	{ EOPNOTSUPP, SENDS | OP(REPLY),
	  "sockets of AF_UNIX and KBUS and io_uring cannot be passed as descriptors" },
	{ ETOOMANYREFS, SENDS | OP(REPLY),
	  "this user has too many descriptors in flight (RLIMIT_NOFILE)" },
	{ EMSGSIZE, OP(REPLY),
	  "it is longer than the requester has room for, or than this bus allows "
	  "(KBUS_MAX_MSG_SIZE): it is still owed, send a shorter one or ignore the request" },
	{ EMSGSIZE, SENDS, "the payload is larger than this bus allows (KBUS_MAX_MSG_SIZE)" },
	{ EMSGSIZE, OP(RECV), "a message was lost: the bus began to allow larger ones just when it came" },
	{ EPIPE, ASKS,
	  "another socket than the peer that was asked for is its replier now, or this "
	  "socket is shut down" },
	{ EPIPE, SENDS | OP(REPLY), "the socket is shut down for sending" },
	{ EADDRNOTAVAIL, ASKS, "nobody is replier for this name" },
	{ EADDRNOTAVAIL, OP(REPLY), "the requester has gone" },
	{ ECONNREFUSED, OP(REPLY) | OP(IGNORE),
	  "this socket does not owe it a reply: it has been answered or given up" },
	{ ENOBUFS, ASKS,
	  "no room can be reserved for its reply: read what waits in this socket's queue, "
	  "or lower reply_max" },
	{ EBUSY, ASKS, "the queue of its replier, or one that it must reach, is full" },
	{ EBUSY, SENDS, "a queue that it must reach is full" },
	{ EAGAIN, SENDS, "a queue that it must reach is full and did not get room in time" },
	{ EDEADLK, SENDS, "it would wait for room in this socket's own queue" },
	{ EDQUOT, SENDS,
	  "this user's budget or share of the bus is used up: read what waits, or raise "
	  "net.kbus.user_bytes or KBUS_BUS_BYTES" },
	{ ETIMEDOUT, OP(CALL), "there was no reply in time" },
	{ ECONNRESET, OP(CALL), "its replier was closed or died before it read the request" },
	{ ECANCELED, OP(CALL),
	  "its replier read the request and gave it up, or died, without a reply" },
	{ ECONNABORTED, OP(CALL),
	  "its replier stopped replying for that name before it read the request" },
	{ EAGAIN, OP(RECV), "no message waits" },
	{ ESHUTDOWN, OP(RECV), "the socket was shut down, and nothing waits in it any more" },

	{ EBADF, ALL, "the socket is closed" },
	{ ENOTCONN, ALL, "the socket has not joined a bus" },
	{ EINTR, ALL, "a signal arrived meanwhile" },
	{ ENOMEM, ALL, "there is no memory for it, in the machine or in a memory cgroup" },
};

const char *kbus_strerror(enum kbus_op op, int error)
{
	const char *text = NULL;
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].error == error && (table[i].ops & (1U << op)))
			return table[i].text;
#ifdef __GLIBC__
	/* Unlike strerror() it may be called by several threads. */
	text = strerrordesc_np(error);
#else
	text = strerror(error);
#endif
	return text ? text : "an error that has no name";
}
