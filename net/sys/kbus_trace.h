/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints: what each socket of a bus does, and what becomes of each
 * message. All numbers are hexadecimal, as in the addresses of messages.
 *
 * Off, each place has a no-op and little more. docs/tracing.md has examples.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM kbus

#if !defined(_KBUS_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _KBUS_TRACE_H

#include <linux/tracepoint.h>

#define kbus_flag_names(flags)			\
	__print_flags((flags), "|",		\
		      { 0x01, "REQUEST" },	\
		      { 0x02, "URGENT" },	\
		      { 0x04, "ALL_OR_FAIL" },	\
		      { 0x08, "ALL_OR_WAIT" },	\
		      { 0x10, "YOU_REPLY" },	\
		      { 0x20, "REPLY" },	\
		      { 0x40, "STATUS" },	\
		      { 0x80, "HAD_FDS" })

/* An announcement or a request is sent. Nobody can read it before this. */
TRACE_EVENT(send,
	TP_PROTO(u64 id, u64 peer, u32 flags, u32 len, const u8 *name, size_t name_len),
	TP_ARGS(id, peer, flags, len, name, name_len),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, peer)
		__field(u32, flags)
		__field(u32, len)
		__string_len(name, name, name_len)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->peer = peer;
		__entry->flags = flags;
		__entry->len = len;
		__assign_str(name);
	),
	TP_printk("id=%llx peer=%llx len=%u flags=%s name=%s", __entry->id, __entry->peer,
		  __entry->len, kbus_flag_names(__entry->flags), __get_str(name))
);

/* A reply is sent. Nobody can read it before this. */
TRACE_EVENT(reply,
	TP_PROTO(u64 id, u64 peer, u64 to, u64 request, u32 len, const u8 *name, size_t name_len),
	TP_ARGS(id, peer, to, request, len, name, name_len),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, peer)
		__field(u64, to)
		__field(u64, request)
		__field(u32, len)
		__string_len(name, name, name_len)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->peer = peer;
		__entry->to = to;
		__entry->request = request;
		__entry->len = len;
		__assign_str(name);
	),
	TP_printk("id=%llx peer=%llx to=%llx request=%llx len=%u name=%s", __entry->id,
		  __entry->peer, __entry->to, __entry->request, __entry->len, __get_str(name))
);

/* A message has been read. */
TRACE_EVENT(receive,
	TP_PROTO(u64 id, u64 peer, u64 sender, u32 flags, u32 len, u32 lost, const u8 *name,
		 size_t name_len),
	TP_ARGS(id, peer, sender, flags, len, lost, name, name_len),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, peer)
		__field(u64, sender)
		__field(u32, flags)
		__field(u32, len)
		__field(u32, lost)
		__string_len(name, name, name_len)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->peer = peer;
		__entry->sender = sender;
		__entry->flags = flags;
		__entry->len = len;
		__entry->lost = lost;
		__assign_str(name);
	),
	TP_printk("id=%llx peer=%llx sender=%llx len=%u lost=%u flags=%s name=%s", __entry->id,
		  __entry->peer, __entry->sender, __entry->len, __entry->lost,
		  kbus_flag_names(__entry->flags), __get_str(name))
);

DECLARE_EVENT_CLASS(kbus_copy,
	TP_PROTO(u64 id, u64 peer),
	TP_ARGS(id, peer),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, peer)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->peer = peer;
	),
	TP_printk("id=%llx peer=%llx", __entry->id, __entry->peer)
);

/* A copy of a message is in the queue of this socket. */
DEFINE_EVENT(kbus_copy, deliver, TP_PROTO(u64 id, u64 peer), TP_ARGS(id, peer));

/* The queue of this socket was full, and it misses the message. */
DEFINE_EVENT(kbus_copy, miss, TP_PROTO(u64 id, u64 peer), TP_ARGS(id, peer));

/* A request will not be answered: a status is in the queue of its requester. */
TRACE_EVENT(status,
	TP_PROTO(u64 id, u64 peer, u64 request, u64 replier, u32 error),
	TP_ARGS(id, peer, request, replier, error),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, peer)
		__field(u64, request)
		__field(u64, replier)
		__field(u32, error)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->peer = peer;
		__entry->request = request;
		__entry->replier = replier;
		__entry->error = error;
	),
	TP_printk("id=%llx peer=%llx request=%llx replier=%llx error=%s", __entry->id,
		  __entry->peer, __entry->request, __entry->replier,
		  __print_symbolic(__entry->error,
				   { 1, "GONE_AWAY" },
				   { 2, "IGNORED" },
				   { 3, "UNBOUND" }))
);

DECLARE_EVENT_CLASS(kbus_binding,
	TP_PROTO(u64 peer, bool replier, const u8 *name, size_t name_len),
	TP_ARGS(peer, replier, name, name_len),
	TP_STRUCT__entry(
		__field(u64, peer)
		__field(bool, replier)
		__string_len(name, name, name_len)
	),
	TP_fast_assign(
		__entry->peer = peer;
		__entry->replier = replier;
		__assign_str(name);
	),
	TP_printk("peer=%llx kind=%s name=%s", __entry->peer, __entry->replier ? "R" : "L",
		  __get_str(name))
);

/* A socket listens to a name or has become its replier. */
DEFINE_EVENT(kbus_binding, bind,
	TP_PROTO(u64 peer, bool replier, const u8 *name, size_t name_len),
	TP_ARGS(peer, replier, name, name_len));

/* A socket has given a binding up. Those that go with their socket are not told. */
DEFINE_EVENT(kbus_binding, unbind,
	TP_PROTO(u64 peer, bool replier, const u8 *name, size_t name_len),
	TP_ARGS(peer, replier, name, name_len));

/* A socket that was on a bus has gone, with its bindings. */
TRACE_EVENT(close,
	TP_PROTO(u64 peer),
	TP_ARGS(peer),
	TP_STRUCT__entry(
		__field(u64, peer)
	),
	TP_fast_assign(
		__entry->peer = peer;
	),
	TP_printk("peer=%llx", __entry->peer)
);

#endif /* _KBUS_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE kbus_trace
#include <trace/define_trace.h>
