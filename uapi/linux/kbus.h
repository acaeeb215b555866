/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * KBUS: a message bus as a socket family.
 *
 * Every address is a struct sockaddr_un, and every everyday act works with
 * plain sendto() and recvfrom(). Ancillary data only ever adds detail.
 */
#ifndef _UAPI_LINUX_KBUS_H
#define _UAPI_LINUX_KBUS_H

#include <linux/types.h>

/*
 * socket(AF_UNIX, SOCK_DGRAM, PROTO_KBUS), or
 * socket(AF_KBUS, SOCK_DGRAM, 0); the sun_family of every address equals
 * the family the socket was created with.
 */
#define AF_KBUS			18
#define PF_KBUS			AF_KBUS
#define PROTO_KBUS		0x6b62
#define SOL_KBUS		0x6b62

/* Bytes of a message name: the most there are, the most in sun_path. */
#define KBUS_NAME_MAX		1000
#define KBUS_NAME_SHORT		73

/* Payload of a message: the bounds of KBUS_MAX_MSG_SIZE and its default. */
#define KBUS_MSG_SIZE_MIN	100
#define KBUS_MSG_SIZE_DEFAULT	65536
#define KBUS_MSG_SIZE_MAX	16777216

/* Socket options of level SOL_KBUS: set (S), get (G) and the value's type. */
#define KBUS_LISTEN		1	/* S: name or wildcard */
#define KBUS_UNLISTEN		2	/* S: name or wildcard */
#define KBUS_REPLIER		3	/* S: name, wildcard or int; G: __u64 */
#define KBUS_UNREPLIER		4	/* S: name or wildcard */
#define KBUS_IGNORE		5	/* S: __u64, id of a request owed */
#define KBUS_SEND_FLAGS		6	/* SG: __u32 */
#define KBUS_ONCE		7	/* SG: int */
#define KBUS_LOSSY		8	/* SG: int */
#define KBUS_REPORT_LOST	9	/* SG: int */
#define KBUS_RECV_INFO		10	/* SG: int, default 1 */
#define KBUS_PASS		11	/* SG: __u32 of KBUS_PASS_* */
#define KBUS_PEER_ID		12	/* G: __u64 */
#define KBUS_LAST_SENT		13	/* G: __u64 */
#define KBUS_QUEUE_LEN		14	/* SG: __u32, default 100 */
#define KBUS_REPLY_MAX		15	/* SG: __u32, default 4096 */
#define KBUS_UNREAD		16	/* G: __u32 */
#define KBUS_UNREPLIED		17	/* G: __u32 */
#define KBUS_LOST		18	/* G: __u64 */
#define KBUS_NEXT_LEN		19	/* G: __s64, -1 for none */
/* Those of the whole bus, set by its owner. */
#define KBUS_REPORT_BINDS	20	/* SG: int */
#define KBUS_MAX_MSG_SIZE	21	/* SG: __u32 */
#define KBUS_BUS_BYTES		22	/* SG: __u64 */
#define KBUS_BUS_MODE		23	/* SG: __u32, default 0666; path bus: G */
#define KBUS_BUS_INFO		24	/* G: struct kbus_bus_info */
#define KBUS_SYNC		25	/* G: __u64 */

/* Bits of KBUS_PASS. */
#define KBUS_PASS_CRED		(1U << 0)
#define KBUS_PASS_SEC		(1U << 1)
#define KBUS_PASS_RIGHTS	(1U << 2)
#define KBUS_PASS_TIME		(1U << 3)

/* Message flags that a sender may set... */
#define KBUS_REQUEST		(1U << 0)
#define KBUS_URGENT		(1U << 1)
#define KBUS_ALL_OR_FAIL	(1U << 2)
#define KBUS_ALL_OR_WAIT	(1U << 3)
/* ...and those that only the bus sets. */
#define KBUS_YOU_REPLY		(1U << 4)
#define KBUS_REPLY		(1U << 5)
#define KBUS_STATUS		(1U << 6)
#define KBUS_HAD_FDS		(1U << 7)
/* The user's own, passed on untouched. */
#define KBUS_USER_FLAGS		0xffff0000U

/* Why there is no reply: the error of a KBUS_STATUS. */
#define KBUS_GONE_AWAY		1	/* closed before reading the request */
#define KBUS_IGNORED		2	/* read it and will not reply */
#define KBUS_UNBOUND		3	/* gave up the name before reading it */
#define KBUS_DISAPPEARED	4	/* reserved */
#define KBUS_ERROR_SENDING	5	/* reserved */

/* Ancillary data of level SOL_KBUS. */
#define SCM_KBUS_SEND		1	/* sent: struct kbus_send */
#define SCM_KBUS_NAME		2	/* both: bytes of a message name */
#define SCM_KBUS_VIA		3	/* both: struct kbus_via */
#define SCM_KBUS_INFO		4	/* received: struct kbus_info */

/**
 * struct kbus_send - what a sender adds to one message (SCM_KBUS_SEND)
 * @flags: KBUS_REQUEST, KBUS_URGENT, KBUS_ALL_OR_* and the user's bits
 * @reply_max: reply bytes to reserve for a request, 0 for KBUS_REPLY_MAX
 * @cookie: given back to the requester in the reply or status
 */
struct kbus_send {
	__u32 flags;
	__u32 reply_max;
	__u64 cookie;
};

/**
 * struct kbus_info - what a reader learns of one message (SCM_KBUS_INFO)
 * @id: order, unique and ascending over every bus of the order domain
 * @in_reply_to: id of the request this answers, or 0
 * @cookie: of the request; for its requester alone, in the reply or status
 * @sender: peer id; of a status: the replier it is about
 * @to: requester of a reply or status, target of a stateful request, else 0
 * @len: payload length, also when truncated or peeked
 * @flags: KBUS_REQUEST, KBUS_YOU_REPLY, KBUS_REPLY, KBUS_STATUS,
 *	KBUS_URGENT, KBUS_HAD_FDS and the user's bits
 * @lost: missed between the previous message of this queue and this one
 * @error: of a KBUS_STATUS: why there is no reply
 *
 * May grow at its end; readers go by cmsg_len.
 */
struct kbus_info {
	__u64 id;
	__u64 in_reply_to;
	__u64 cookie;
	__u64 sender;
	__u64 to;
	__u32 len;
	__u32 flags;
	__u32 lost;
	__s32 error;
};

/**
 * struct kbus_via - where a bridged message came from and goes (SCM_KBUS_VIA)
 * @orig_net: network of the original sender
 * @orig_peer: the original sender
 * @final_net: network of the final target
 * @final_peer: the final target
 *
 * Carried unread by the bus.
 */
struct kbus_via {
	__u64 orig_net;
	__u64 orig_peer;
	__u64 final_net;
	__u64 final_peer;
};

/**
 * struct kbus_bind_event - payload of $.KBUS.ReplierBindEvent
 * @peer: whose binding
 * @is_bind: 1 for a new one, 0 for one that went
 * @name_len: bytes of @name
 * @name: the name or wildcard, not terminated
 */
struct kbus_bind_event {
	__u64 peer;
	__u32 is_bind;
	__u32 name_len;
	__extension__ char name[];
};

/**
 * struct kbus_bus_info - the state of a bus (KBUS_BUS_INFO)
 * @domain: the order domain: message ids of one domain can be compared
 * @bytes: payload alive on the bus
 * @bytes_max: how much may be, KBUS_BUS_BYTES
 * @uid: owner
 * @gid: group
 * @mode: permissions, KBUS_BUS_MODE
 * @members: sockets bound to it
 * @bindings: listener and replier bindings on it
 * @max_msg: largest payload, KBUS_MAX_MSG_SIZE
 *
 * May grow at its end; readers go by the returned length.
 */
struct kbus_bus_info {
	__u64 domain;
	__u64 bytes;
	__u64 bytes_max;
	__u32 uid;
	__u32 gid;
	__u32 mode;
	__u32 members;
	__u32 bindings;
	__u32 max_msg;
};

#endif /* _UAPI_LINUX_KBUS_H */
