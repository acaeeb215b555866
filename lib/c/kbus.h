/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * libkbus: helpers over the KBUS socket family of <linux/kbus.h>.
 *
 * A function returns 0, or a descriptor, and -1 with errno set when it fails;
 * kbus_strerror() says in a sentence what that means for this operation. A
 * failed send has sent nothing.
 *
 * A socket is an ordinary descriptor: poll(2), fcntl(2), setsockopt(2) with
 * SOL_KBUS and close(2) are used on it directly. The library has no state, so
 * all functions may be called by several threads at the same time, also on
 * the same socket; two threads must not use the same struct kbus_msg. Of
 * several threads that receive from one socket, each gets other messages.
 * kbus_request() is the one exception, see there.
 */
#ifndef KBUS_H
#define KBUS_H

#include <linux/kbus.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

/** KBUS_FDS_MAX - the most descriptors that a message can carry */
#define KBUS_FDS_MAX 253

/**
 * struct kbus_msg - a message that was received
 * @name: its name, NUL-terminated
 * @data: its payload, whole: in the buffer that was given to kbus_recv(), or,
 *	if it did not fit there, in memory of its own
 * @len: bytes of @data
 * @id: its place in the order of all buses of a network namespace
 * @in_reply_to: the request that a reply or status answers, or 0
 * @cookie: of that request, for its requester alone
 * @sender: peer id of the socket that sent it; of a status: the replier
 * @to: requester of a reply or status, target of a stateful request, or 0
 * @flags: KBUS_REQUEST, KBUS_YOU_REPLY, KBUS_REPLY, KBUS_STATUS, KBUS_URGENT,
 *	KBUS_HAD_FDS and the 16 user bits (KBUS_USER_FLAGS)
 * @lost: messages missed between the one before and this one
 * @error: of a status: KBUS_GONE_AWAY, KBUS_IGNORED or KBUS_UNBOUND
 * @fds: the descriptors that came with it (KBUS_PASS_RIGHTS). They are the
 *	receiver's: kbus_msg_free() closes them; set one to -1 to keep it
 * @nfds: how many there are
 * @has_cred: whether @pid, @uid and @gid are known (KBUS_PASS_CRED)
 * @pid: process of the sender when it sent this, or 0
 * @uid: its real user
 * @gid: its real group
 * @time: when it was sent (KBUS_PASS_TIME), or zeros
 * @via: what a bridge between machines has added, or zeros
 * @memory: for the library: what kbus_msg_free() frees
 */
struct kbus_msg {
	char		name[KBUS_NAME_MAX + 1];
	void		*data;
	size_t		len;
	__u64		id;
	__u64		in_reply_to;
	__u64		cookie;
	__u64		sender;
	__u64		to;
	__u32		flags;
	__u32		lost;
	__s32		error;
	unsigned int	nfds;
	int		fds[KBUS_FDS_MAX];
	int		has_cred;
	pid_t		pid;
	uid_t		uid;
	gid_t		gid;
	struct timespec	time;
	struct kbus_via	via;
	void		*memory;
};

/**
 * struct kbus_opts - what a sender adds to a message, all of it optional
 * @flags: KBUS_URGENT, KBUS_ALL_OR_FAIL, KBUS_ALL_OR_WAIT and user bits
 * @reply_max: bytes to reserve for the reply to a request, 0 for KBUS_REPLY_MAX
 * @cookie: given back with the reply or status of a request
 * @to: the only peer that is to answer a request, 0 for any
 * @fds: descriptors to pass
 * @nfds: how many there are
 * @via: for bridges between machines, or NULL
 *
 * Zeros are the defaults: struct kbus_opts opts = { .flags = KBUS_URGENT };
 */
struct kbus_opts {
	__u32			flags;
	__u32			reply_max;
	__u64			cookie;
	__u64			to;
	const int		*fds;
	unsigned int		nfds;
	const struct kbus_via	*via;
};

/** enum kbus_op - the operation that kbus_strerror() explains an errno of */
enum kbus_op {
	KBUS_OP_OPEN,
	KBUS_OP_LISTEN,
	KBUS_OP_UNLISTEN,
	KBUS_OP_REPLIER,
	KBUS_OP_UNREPLIER,
	KBUS_OP_SEND,
	KBUS_OP_REQUEST,
	KBUS_OP_CALL,
	KBUS_OP_RECV,
	KBUS_OP_REPLY,
	KBUS_OP_IGNORE
};

/**
 * kbus_open - make a socket and join a bus
 * @bus: "@NAME" for an abstract bus, a path with a slash in it, or NULL for
 *	$KBUS_BUS or, without that, "@kbus-0"
 * @flags: 0 or SOCK_NONBLOCK; close-on-exec is always set
 *
 * Both forms of socket(2) are tried, as a sandbox may refuse the first one.
 *
 * Return: the descriptor, or -1 with errno: EAFNOSUPPORT (the module is not
 * loaded), EINVAL (no such form of a bus, or other flags), ENAMETOOLONG (over
 * 107 bytes), EACCES (no permission), what bind(2) says of the path.
 */
int kbus_open(const char *bus, int flags);

/**
 * kbus_listen - receive messages of a name
 * @fd: the socket
 * @name: a name, or a wildcard: $.A.* for what is below $.A, $.A.% for one word
 *
 * Each binding that matches brings a copy, unless KBUS_ONCE is set.
 *
 * Return: 0, or -1 with errno: EBADMSG, ENAMETOOLONG, EDQUOT, ENOMEM.
 */
int kbus_listen(int fd, const char *name);

/**
 * kbus_unlisten - undo kbus_listen(), once
 * @fd: the socket
 * @name: the same name or wildcard
 *
 * Unread messages that only this binding let in are removed.
 *
 * Return: 0, or -1 with errno: EINVAL (no such binding), EBADMSG.
 */
int kbus_unlisten(int fd, const char *name);

/**
 * kbus_replier - become the replier for a name
 * @fd: the socket
 * @name: a name or wildcard
 *
 * Return: 0, or -1 with errno: EEXIST (there is one), EACCES (another user's
 * wildcard would lose names), EPERM (a name of the bus), EBADMSG,
 * ENAMETOOLONG, EDQUOT, ENOMEM; EAGAIN or EDEADLK where bind events are on.
 */
int kbus_replier(int fd, const char *name);

/**
 * kbus_unreplier - undo kbus_replier()
 * @fd: the socket
 * @name: the same name or wildcard
 *
 * Unread requests get an Unbound status. What was read is still owed.
 *
 * Return: 0, or -1 with errno: EINVAL (no such binding), EBADMSG, EAGAIN.
 */
int kbus_unreplier(int fd, const char *name);

/**
 * kbus_send - announce a message to all who listen to its name
 * @fd: the socket
 * @name: the name, of up to 1000 bytes
 * @data: the payload, or NULL if @len is 0
 * @len: its bytes
 * @opts: what else, or NULL
 *
 * Return: 0, also if nobody listens, or -1 with errno: EBADMSG, EMSGSIZE,
 * EBUSY (KBUS_ALL_OR_FAIL), EAGAIN (KBUS_ALL_OR_WAIT, and it must not wait),
 * EPERM, EDQUOT and others: kbus_send(3) has them all.
 */
int kbus_send(int fd, const char *name, const void *data, size_t len,
	      const struct kbus_opts *opts);

/**
 * kbus_request - ask the replier for a name
 * @fd: the socket
 * @name: the name
 * @data: the payload
 * @len: its bytes
 * @opts: what else, or NULL
 * @id: gets the id of the request, which is in_reply_to of the answer; or NULL
 *
 * kbus_recv() returns the answer some time: a reply or a status, exactly one.
 * With @id, no other thread may send on the same socket at the same time:
 * the id is asked for after the request. Use opts->cookie instead.
 *
 * Return: 0, or -1 with errno, beside those of kbus_send(): EADDRNOTAVAIL
 * (nobody is replier), EPIPE (opts->to is not the replier), EBUSY (its queue
 * is full), ENOBUFS (no room for the reply).
 */
int kbus_request(int fd, const char *name, const void *data, size_t len,
		 const struct kbus_opts *opts, __u64 *id);

/**
 * kbus_call - ask the replier for a name and wait for the reply
 * @fd: a socket on the bus
 * @name: the name
 * @data: the payload
 * @len: its bytes
 * @opts: what else, or NULL
 * @msg: gets the reply; free it with kbus_msg_free(), also after a failure
 * @timeout: milliseconds to wait, -1 for ever
 *
 * The call has a socket of its own on the bus that @fd is on, so it takes no
 * message away from it, and any number of threads may call at the same time.
 * It takes KBUS_PASS and KBUS_REPLY_MAX from @fd, and is closed at the end: a
 * replier that answers too late is told. A program that makes very many calls
 * saves the socket's making by kbus_request() and kbus_recv() on one of its
 * own.
 *
 * Return: 0, or -1 with errno: ETIMEDOUT; for a status, which @msg is then:
 * ECONNRESET (the replier has gone), ECANCELED (it ignored the request),
 * ECONNABORTED (it stopped being replier); EINTR; those of kbus_request() and
 * of kbus_open().
 */
int kbus_call(int fd, const char *name, const void *data, size_t len,
	      const struct kbus_opts *opts, struct kbus_msg *msg, int timeout);

/**
 * kbus_recv - receive the next message
 * @fd: the socket
 * @msg: gets the message; need not be initialised; free it with
 *	kbus_msg_free() when this has returned 0
 * @buf: memory for the payload, or NULL
 * @size: its bytes
 * @flags: 0 or MSG_DONTWAIT
 *
 * The payload is never cut off: what does not fit in @buf is put in memory of
 * its own. It is msg->data in both cases.
 *
 * Return: 0, or -1 with errno: EAGAIN (none there, and this must not wait),
 * ESHUTDOWN (shut down, and nothing left to read), EINTR, ENOMEM. Nothing is
 * received then. EMSGSIZE: a message was lost, as KBUS_MAX_MSG_SIZE was raised
 * and a longer urgent one came while this was about to read a shorter one; a
 * request's sender is told.
 */
int kbus_recv(int fd, struct kbus_msg *msg, void *buf, size_t size, int flags);

/**
 * kbus_reply - answer a request
 * @fd: the socket that has received it
 * @request: the request, with KBUS_YOU_REPLY in its flags
 * @data: the payload
 * @len: its bytes
 * @opts: what else, or NULL: KBUS_URGENT and user bits, descriptors, via
 *
 * This never waits.
 *
 * Return: 0, or -1 with errno: EMSGSIZE (longer than the requester has room
 * for: still owed), EADDRNOTAVAIL (the requester has gone; nothing is owed any
 * more), ECONNREFUSED (not owed: answered before, or given up), ENOMEM.
 */
int kbus_reply(int fd, const struct kbus_msg *request, const void *data,
	       size_t len, const struct kbus_opts *opts);

/**
 * kbus_ignore - give a request up
 * @fd: the socket that has received it
 * @request: the request
 *
 * Its requester gets an Ignored status now.
 *
 * Return: 0, or -1 with errno: ECONNREFUSED (not owed).
 */
int kbus_ignore(int fd, const struct kbus_msg *request);

/**
 * kbus_msg_free - free a message's memory and close its descriptors
 * @msg: the message. Twice is no error; a request is not answered by this
 */
void kbus_msg_free(struct kbus_msg *msg);

/**
 * kbus_peer_id - the id of a socket, which is never used again
 * @fd: the socket
 * @id: gets it
 *
 * Return: 0, or -1 with errno.
 */
int kbus_peer_id(int fd, __u64 *id);

/**
 * kbus_sync - how far the queues of the bus are complete
 * @fd: the socket
 * @id: gets an id: every message of this bus up to it is in the queues of its
 *	recipients by now
 *
 * With it the messages of several buses are merged in their one order:
 * docs/ordering.md.
 *
 * Return: 0, or -1 with errno: ENOTCONN.
 */
int kbus_sync(int fd, __u64 *id);

/**
 * kbus_strerror - what an errno means for an operation
 * @op: the operation
 * @error: the errno
 *
 * Return: half a sentence, as "nobody is replier for this name"; for an errno
 * that the operation does not give by itself, that of strerror(3), in English.
 * It is never changed or freed.
 */
const char *kbus_strerror(enum kbus_op op, int error);

#ifdef __cplusplus
}
#endif

#endif /* KBUS_H */
