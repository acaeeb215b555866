// SPDX-License-Identifier: GPL-2.0
/*
 * What a program sees of KBUS, built for 64 and for 32 bits.
 *
 * Usage: kbus-abi64 literal|family SUBJECT
 *
 * A subject prints a line for each thing it tries. Lines do not depend on the
 * size of a word, on the time or on the process, so both programs must print
 * the same (selftests/src/tests/abi.rs). A line with "FAULT" must not appear
 * in either.
 */
#include "sys.h"

#define NAME		"$.Abi"
#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))
#define VIA \
	{ 0x1111111111111111, 0x2222222222222222, 0x3333333333333333, 0x4444444444444444 }

static int family, protocol;
static char bus[32];
static unsigned int bus_len;

/* A name of this length, of one word and digits. */
static void make_name(char *to, size_t len)
{
	memset(to, 'n', len);
	memcpy(to, "$.", len < 2 ? len : 2);
}

static unsigned int address(struct sockaddr_un *to, const char *text, unsigned int len)
{
	to->sun_family = family;
	memcpy(to->sun_path, text, len);
	return offsetof(struct sockaddr_un, sun_path) + len;
}

static int unbound_socket(void)
{
	return need("socket", sys_socket(family, SOCK_DGRAM, protocol));
}

static int bound_socket(void)
{
	struct sockaddr_un at;
	int fd = unbound_socket();

	need("bind", sys_bind(fd, &at, address(&at, bus, bus_len)));
	return fd;
}

static void set_name(int fd, int option, const char *name, unsigned int len)
{
	need("name option", sys_setsockopt(fd, SOL_KBUS, option, name, len));
}

static void set_int(int fd, int level, int option, int value)
{
	need("int option", sys_setsockopt(fd, level, option, &value, sizeof(value)));
}

static __u64 get_u64(int fd, int option)
{
	unsigned int len = sizeof(__u64);
	__u64 value = 0;

	need("u64 option", sys_getsockopt(fd, SOL_KBUS, option, &value, &len));
	return value;
}

/* A socket that listens to one name, to which it sends as well. */
static int listener(void)
{
	int fd = bound_socket();

	set_name(fd, KBUS_LISTEN, NAME, length(NAME));
	return fd;
}

/* Control data that is being put together. */
struct control {
	unsigned char data[4096] __attribute__((aligned(8)));
	unsigned long len;
};

static void add(struct control *to, int level, int type, const void *data, unsigned int len)
{
	struct cmsghdr *header = (struct cmsghdr *)(to->data + to->len);

	header->len = CMSG_LEN(len);
	header->level = level;
	header->type = type;
	memcpy(header + 1, data, len);
	memset((char *)(header + 1) + len, 0, ALIGN(len) - len);
	to->len += CMSG_SPACE(len);
}

/* Sends "payload", with an address unless that is NULL. */
static int send_with(int fd, const char *to, const void *control, unsigned long len)
{
	struct iovec part = { "payload", 7 };
	struct sockaddr_un at;
	struct msghdr msg = {
		.iov = &part, .iovlen = 1, .control = (void *)control, .controllen = len,
	};

	if (to) {
		msg.name = &at;
		msg.namelen = address(&at, to, length(to));
	}
	return sys_sendmsg(fd, &msg, MSG_DONTWAIT);
}

/* One piece of control data that was received. */
struct piece {
	int level, type;
	unsigned int len;
	unsigned char data[1024];
};

struct pieces {
	struct piece at[16];
	unsigned int count;
	bool truncated;
	unsigned long used;
};

static bool is(const struct piece *piece, int level, int type)
{
	return piece->level == level && piece->type == type;
}

/* The old timestamps are of the program's own words. */
static bool has_words(const struct piece *piece)
{
	return is(piece, SOL_SOCKET, SO_TIMESTAMP_OLD) || is(piece, SOL_SOCKET, SO_TIMESTAMPNS_OLD);
}

/* What the fields of an information are that change with each message is left out. */
static void put_info(const struct kbus_info *info)
{
	say("len", info->len);
	put(" flags ");
	put_hex(info->flags);
	say("lost", info->lost);
	say("error", info->error);
	put(" cookie ");
	put_hex(info->cookie);
}

static void put_kind(const struct piece *piece)
{
	say(piece->level == SOL_KBUS ? "kbus" : "socket", piece->type);
}

/* A line of what was received, with lengths in units that both programs share. */
static void put_pieces(const struct pieces *pieces)
{
	unsigned int i;

	for (i = 0; i < pieces->count; i++) {
		const struct piece *piece = &pieces->at[i];

		put_kind(piece);
		if (has_words(piece) && piece->len % sizeof(long) == 0)
			say("words", piece->len / sizeof(long));
		else if (has_words(piece))
			put(" cut");
		else
			say("len", piece->len);
	}
	put(pieces->truncated ? " CTRUNC" : "");
}

/* What a socket asks for, and what its messages bring. */
struct scene {
	const char *name;
	unsigned int pass;
	int option, fds, name_len;
	bool via, no_info, by_socketcall;
};

static int make(const struct scene *scene)
{
	int fd = bound_socket();
	char name[1000];

	set_int(fd, SOL_KBUS, KBUS_PASS, scene->pass);
	if (scene->option)
		set_int(fd, SOL_SOCKET, scene->option, 1);
	if (scene->no_info)
		set_int(fd, SOL_KBUS, KBUS_RECV_INFO, 0);
	make_name(name, scene->name_len);
	if (scene->name_len)
		set_name(fd, KBUS_LISTEN, name, scene->name_len);
	else
		set_name(fd, KBUS_LISTEN, NAME, length(NAME));
	return fd;
}

static void send_scene(int fd, const struct scene *scene)
{
	static struct control control;
	struct kbus_via via = VIA;
	int fds[] = { 1, 1, 1 };
	char name[1000];

	control.len = 0;
	if (scene->fds)
		add(&control, SOL_SOCKET, SCM_RIGHTS, fds, scene->fds * sizeof(int));
	make_name(name, scene->name_len);
	if (scene->name_len)
		add(&control, SOL_KBUS, SCM_KBUS_NAME, name, scene->name_len);
	if (scene->via)
		add(&control, SOL_KBUS, SCM_KBUS_VIA, &via, sizeof(via));
	need("sendmsg", send_with(fd, scene->name_len ? NULL : NAME, control.data, control.len));
}

static int receive_msg(int fd, struct msghdr *msg, unsigned int flags, bool by_socketcall)
{
#ifdef __i386__
	unsigned long args[] = { fd, (unsigned long)msg, flags };

	/* SYS_RECVMSG of <linux/net.h>: the only way there was before Linux 4.3. */
	if (by_socketcall)
		return call(__NR_socketcall, 17, args, 0, 0, 0);
#else
	(void)by_socketcall;
#endif
	return sys_recvmsg(fd, msg, flags);
}

#define POISON 0xa5

/* Receives into a control buffer of this size, and takes apart what came. */
static bool receive_pieces(int fd, const struct scene *scene, unsigned long size,
			   unsigned int flags, struct pieces *got)
{
	static unsigned char buffer[4096] __attribute__((aligned(8)));
	char payload[16];
	struct iovec part = { payload, sizeof(payload) };
	struct msghdr msg = {
		.iov = &part, .iovlen = 1, .control = buffer, .controllen = size,
	};
	unsigned long at = 0, i;
	int ret;

	memset(buffer, POISON, sizeof(buffer));
	memset(got, 0, sizeof(*got));
	ret = receive_msg(fd, &msg, flags | MSG_DONTWAIT, scene->by_socketcall);
	need("recvmsg", ret);
	if (ret != 7 || !same(payload, "payload", 7))
		fault("the payload is another one");
	if (msg.flags & ~MSG_CTRUNC)
		fault("flags that nobody asked for");
	got->truncated = msg.flags & MSG_CTRUNC;
	got->used = msg.controllen;
	if (msg.controllen > size) {
		fault("more control data than there was room for");
		return false;
	}
	for (i = msg.controllen; i < sizeof(buffer); i++)
		if (buffer[i] != POISON) {
			fault("written to where nothing is said to be");
			return false;
		}
	while (msg.controllen - at >= sizeof(struct cmsghdr)) {
		struct cmsghdr *header = (struct cmsghdr *)(buffer + at);
		struct piece *piece = &got->at[got->count];

		if (got->count == COUNT(got->at) || header->len < sizeof(*header) ||
		    header->len > msg.controllen - at ||
		    header->len - sizeof(*header) > sizeof(piece->data)) {
			fault("a control message of an impossible length");
			return false;
		}
		piece->level = header->level;
		piece->type = header->type;
		piece->len = header->len - sizeof(*header);
		memcpy(piece->data, header + 1, piece->len);
		got->count++;
		if (is(piece, SOL_SOCKET, SCM_RIGHTS))
			for (i = 0; i < piece->len / sizeof(int); i++)
				if (sys_close(((int *)piece->data)[i]))
					fault("a descriptor that is none");
		at += ALIGN(header->len);
		if (at > msg.controllen)
			at = msg.controllen;
	}
	return true;
}

/*
 * What must be received of all these pieces in a buffer of this size, by the
 * rules of the kernel: a piece is put into what is left and cut to that, but
 * for its header, descriptors are whole or absent, and our information comes
 * whole or not at all and is the only thing that may be missing silently.
 */
static void predict(const struct pieces *all, unsigned long size, struct pieces *wanted)
{
	unsigned long room = size, len;
	unsigned int i;

	memset(wanted, 0, sizeof(*wanted));
	for (i = 0; i < all->count; i++) {
		struct piece *piece = &wanted->at[wanted->count];

		*piece = all->at[i];
		if (is(piece, SOL_KBUS, SCM_KBUS_INFO)) {
			if (room < CMSG_LEN(piece->len))
				continue;
		} else if (is(piece, SOL_KBUS, SCM_KBUS_VIA) && !size) {
			continue;
		} else if (is(piece, SOL_SOCKET, SCM_RIGHTS)) {
			len = room > CMSG_LEN(0) ? (room - CMSG_LEN(0)) / sizeof(int) : 0;
			if (len * sizeof(int) < piece->len) {
				wanted->truncated = true;
				piece->len = len * sizeof(int);
			}
			if (!piece->len)
				continue;
		} else if (room < CMSG_LEN(0)) {
			wanted->truncated = true;
			continue;
		} else if (room < CMSG_LEN(piece->len)) {
			wanted->truncated = true;
			piece->len = room - CMSG_LEN(0);
		}
		wanted->count++;
		len = CMSG_SPACE(piece->len);
		/* The core goes on behind the whole piece, also if it was cut. */
		if (!is(piece, SOL_SOCKET, SCM_RIGHTS))
			len = CMSG_SPACE(all->at[i].len);
		room -= len < room ? len : room;
	}
	wanted->used = size - room;
}

static bool differ(const struct pieces *got, const struct pieces *wanted)
{
	unsigned int i;

	if (got->count != wanted->count || got->truncated != wanted->truncated ||
	    got->used != wanted->used)
		return true;
	for (i = 0; i < got->count; i++) {
		const struct piece *a = &got->at[i], *b = &wanted->at[i];
		unsigned int skip = 0;

		if (a->level != b->level || a->type != b->type || a->len != b->len)
			return true;
		/* Descriptors and times are another each time, and so is the id. */
		if (a->level == SOL_SOCKET && a->type != SCM_CREDENTIALS && a->type != SO_RXQ_OVFL)
			continue;
		if (is(a, SOL_KBUS, SCM_KBUS_INFO))
			skip = sizeof(__u64);
		if (!same(a->data + skip, b->data + skip, a->len - skip))
			return true;
	}
	return false;
}

/* The values of what came with a message, which was sent between two times. */
static void check_values(int fd, const struct scene *scene, const struct pieces *all,
			 __u64 before, __u64 after)
{
	struct kbus_via via = VIA;
	unsigned int i;

	for (i = 0; i < all->count; i++) {
		const struct piece *piece = &all->at[i];
		const void *data = piece->data;
		char name[1000];

		put(scene->name);
		put(":");
		put_kind(piece);
		if (is(piece, SOL_KBUS, SCM_KBUS_INFO)) {
			const struct kbus_info *info = data;

			put_info(info);
			if (piece->len != sizeof(*info) || info->in_reply_to || info->to ||
			    info->id != get_u64(fd, KBUS_LAST_SENT) ||
			    info->sender != get_u64(fd, KBUS_PEER_ID))
				fault("wrong information");
		} else if (is(piece, SOL_KBUS, SCM_KBUS_VIA)) {
			if (piece->len != sizeof(via) || !same(data, &via, sizeof(via)))
				fault("wrong SCM_KBUS_VIA");
		} else if (is(piece, SOL_KBUS, SCM_KBUS_NAME)) {
			make_name(name, scene->name_len);
			if ((int)piece->len != scene->name_len || !same(data, name, piece->len))
				fault("wrong SCM_KBUS_NAME");
		} else if (is(piece, SOL_SOCKET, SCM_CREDENTIALS)) {
			const struct ucred *creds = data;

			say("uid", creds->uid);
			say("gid", creds->gid);
			if (piece->len != sizeof(*creds) ||
			    (long)creds->pid != call(__NR_getpid, 0, 0, 0, 0, 0))
				fault("wrong credentials");
		} else if (is(piece, SOL_SOCKET, SO_RXQ_OVFL)) {
			say("lost", *(const __u32 *)data);
		} else if (!is(piece, SOL_SOCKET, SCM_RIGHTS) && scene->option &&
			   piece->type == scene->option) {
			const long *words = data;
			const __s64 *wide = data;
			__u64 unit, time;

			unit = piece->type == SO_TIMESTAMP_OLD ||
			       piece->type == SO_TIMESTAMP_NEW ? 1000 : 1;
			if (piece->len != 2 * (has_words(piece) ? sizeof(long) : sizeof(__s64)))
				fault("a time of another length");
			if (has_words(piece))
				time = words[0] * 1000000000ULL + words[1] * unit;
			else
				time = wide[0] * 1000000000ULL + wide[1] * unit;
			if (time + unit <= before || time > after)
				fault("a time at which it was not sent");
		}
		end_line();
	}
}

static const struct scene scenes[] = {
	{ "info" },
	{ "nothing", .no_info = true },
	{ "credentials", .pass = KBUS_PASS_CRED },
	{ "one descriptor", .pass = KBUS_PASS_RIGHTS, .fds = 1 },
	{ "two descriptors", .pass = KBUS_PASS_RIGHTS, .fds = 2 },
	{ "descriptors without info", .pass = KBUS_PASS_RIGHTS, .fds = 3, .no_info = true },
	{ "timestamp old", .option = SO_TIMESTAMP_OLD },
	{ "timestamp new", .option = SO_TIMESTAMP_NEW },
	{ "nanoseconds old", .option = SO_TIMESTAMPNS_OLD },
	{ "nanoseconds new", .option = SO_TIMESTAMPNS_NEW },
	{ "losses", .option = SO_RXQ_OVFL },
	{ "name 300", .name_len = 300 },
	{ "name 301", .name_len = 301 },
	{ "name 303 without info", .name_len = 303, .no_info = true },
	{ "via", .via = true },
	{ "via without info", .via = true, .no_info = true },
	{ "credentials and via", .pass = KBUS_PASS_CRED, .via = true },
	{ "credentials and descriptors", .pass = KBUS_PASS_CRED | KBUS_PASS_RIGHTS, .fds = 3 },
	{ "much", .pass = KBUS_PASS_CRED | KBUS_PASS_SEC | KBUS_PASS_RIGHTS, .fds = 3,
	  .option = SO_TIMESTAMPNS_OLD, .name_len = 301, .via = true },
	{ "much by socketcall", .pass = KBUS_PASS_CRED | KBUS_PASS_SEC | KBUS_PASS_RIGHTS, .fds = 1,
	  .option = SO_TIMESTAMP_OLD, .name_len = 99, .via = true, .by_socketcall = true },
};

/* Tries one size of the buffer, by a peek and by a read. */
static void try_size(int fd, const struct scene *scene, const struct pieces *all,
		     unsigned long size)
{
	static struct pieces got, wanted;
	unsigned int flags;

	predict(all, size, &wanted);
	send_scene(fd, scene);
	for (flags = MSG_PEEK;; flags = 0) {
		if (receive_pieces(fd, scene, size, flags, &got) && differ(&got, &wanted)) {
			put(scene->name);
			say(flags ? "peek with a buffer of" : "read with a buffer of", size);
			say("used", got.used);
			put(":");
			put_pieces(&got);
			put("; wanted");
			say("used", wanted.used);
			put(":");
			put_pieces(&wanted);
			fault("another result");
		}
		if (!flags)
			return;
	}
}

static void tell_size(int fd, const struct scene *scene, const char *where, unsigned int piece,
		      unsigned long size)
{
	static struct pieces got;

	send_scene(fd, scene);
	receive_pieces(fd, scene, size, 0, &got);
	put(scene->name);
	say(where, piece);
	put(":");
	put_pieces(&got);
	end_line();
}

/* Every size of the control buffer that makes a difference. */
static void subject_receive(void)
{
	static struct pieces all;
	unsigned int i, n;

	for (i = 0; i < COUNT(scenes); i++) {
		const struct scene *scene = &scenes[i];
		int fd = make(scene);
		__u64 before = sys_now();
		unsigned long size, at = 0;

		send_scene(fd, scene);
		receive_pieces(fd, scene, 4000, 0, &all);
		check_values(fd, scene, &all, before, sys_now());
		if (all.truncated || differ(&all, &all))
			fault("not all came");
		for (size = 0; size <= all.used + 32; size++)
			try_size(fd, scene, &all, size);
		for (n = 0; n < all.count; n++) {
			unsigned int len = all.at[n].len;

			tell_size(fd, scene, "no header of", n, at + CMSG_LEN(0) - 1);
			tell_size(fd, scene, "header of", n, at + CMSG_LEN(0));
			tell_size(fd, scene, "one byte too few for", n, at + CMSG_LEN(len) - 1);
			tell_size(fd, scene, "CMSG_LEN of", n, at + CMSG_LEN(len));
			tell_size(fd, scene, "CMSG_SPACE of", n, at + CMSG_SPACE(len));
			at += CMSG_SPACE(len);
		}
		sys_close(fd);
	}
}

/* A length without a buffer is no room, and a message without control data is none. */
static void subject_no_buffer(void)
{
	static const struct scene scene = { "no buffer", .via = true };
	struct msghdr msg = { .controllen = 200 };
	int fd = make(&scene), i;

	for (i = 0; i < 2; i++) {
		send_scene(fd, &scene);
		need("recvmsg", sys_recvmsg(fd, &msg, MSG_DONTWAIT));
		put("without a buffer:");
		say("controllen", msg.controllen);
		if (msg.flags & MSG_CTRUNC)
			fault("MSG_CTRUNC");
		end_line();
		set_int(fd, SOL_KBUS, KBUS_RECV_INFO, 0);
		msg.controllen = 200;
	}
}

static const struct {
	const char *name;
	int level, type;
	unsigned int most;
} sent[] = {
	{ "send", SOL_KBUS, SCM_KBUS_SEND, 40 },
	{ "via", SOL_KBUS, SCM_KBUS_VIA, 48 },
	{ "name", SOL_KBUS, SCM_KBUS_NAME, 1003 },
	{ "info", SOL_KBUS, SCM_KBUS_INFO, 57 },
	{ "rights", SOL_SOCKET, SCM_RIGHTS, 24 },
	{ "credentials", SOL_SOCKET, SCM_CREDENTIALS, 24 },
	{ "unknown", SOL_SOCKET, 77, 9 },
};

/* Something that is good for this kind, as far as it reaches. */
static void fill(unsigned char *to, unsigned int kind, unsigned int len)
{
	struct ucred creds = { call(__NR_getpid, 0, 0, 0, 0, 0), 0, 0 };
	unsigned int i;

	memset(to, 0, 1024);
	switch (sent[kind].type + sent[kind].level) {
	case SCM_KBUS_NAME + SOL_KBUS:
		make_name((char *)to, len);
		break;
	case SCM_RIGHTS + SOL_SOCKET:
		for (i = 0; i + sizeof(int) <= 1024; i += sizeof(int))
			*(int *)(to + i) = 1;
		break;
	case SCM_CREDENTIALS + SOL_SOCKET:
		memcpy(to, &creds, sizeof(creds));
		break;
	}
}

/* Reads everything away. */
static void drain(int fd)
{
	struct msghdr msg = { 0 };

	while (sys_recvmsg(fd, &msg, MSG_DONTWAIT) >= 0)
		msg = (struct msghdr){ 0 };
}

/* Each kind of control data in each length, alone and before another one. */
static void subject_send(void)
{
	static struct control control;
	struct kbus_send user = { .flags = 0x10000, .cookie = 0x1122334455667788 };
	unsigned char data[1024] __attribute__((aligned(8)));
	unsigned int kind, len;
	int fd = listener();

	for (kind = 0; kind < COUNT(sent); kind++) {
		const char *to = sent[kind].type == SCM_KBUS_NAME ? NULL : NAME;
		unsigned long whole;

		for (len = 0; len <= sent[kind].most; len++) {
			fill(data, kind, len);
			control.len = 0;
			add(&control, sent[kind].level, sent[kind].type, data, len);
			whole = CMSG_LEN(len);
			put(sent[kind].name);
			say("len", len);
			/* All of it, without its padding, and a byte less than it says. */
			say("gives", send_with(fd, to, control.data, control.len));
			say("unpadded", send_with(fd, to, control.data, whole));
			/* Less than a header: the core tells only programs of 32 bits. */
			if (len)
				say("cut", send_with(fd, to, control.data, whole - 1));
			put(" with another");
			add(&control, SOL_KBUS, SCM_KBUS_SEND, &user, sizeof(user));
			say("gives", send_with(fd, to, control.data, control.len));
			/* A length that leaves no room for a header, or for itself. */
			((struct cmsghdr *)control.data)->len = len < CMSG_LEN(0) ? len : 0;
			say("short", send_with(fd, to, control.data, control.len));
			((struct cmsghdr *)control.data)->len = -(long)len - 1;
			say("long", send_with(fd, to, control.data, control.len));
			end_line();
			drain(fd);
		}
	}
}

/* The words of a send arrive: flags, cookie and room for the reply. */
static void subject_request(void)
{
	static const struct scene scene = { "request" };
	static struct pieces got;
	static struct control control;
	struct kbus_send send = {
		.flags = KBUS_REQUEST | 0xabcd0000, .cookie = 0x1122334455667788,
	};
	struct kbus_info *info = (struct kbus_info *)got.at[0].data;
	int client = bound_socket(), server = bound_socket();
	struct sockaddr_un from = { 0 };
	struct iovec part = { "payload", 7 };
	struct msghdr msg = {
		.name = &from, .namelen = sizeof(from), .iov = &part, .iovlen = 1,
	};
	unsigned int reserve;
	__u64 id;

	set_name(server, KBUS_REPLIER, NAME, length(NAME));
	for (reserve = 69999; reserve <= 70001; reserve++) {
		char payload[16];

		send.reply_max = reserve;
		control.len = 0;
		add(&control, SOL_KBUS, SCM_KBUS_SEND, &send, sizeof(send));
		need("request", send_with(client, NAME, control.data, control.len));
		id = get_u64(client, KBUS_LAST_SENT);
		put("request:");
		receive_pieces(server, &scene, 4000, MSG_PEEK, &got);
		put_pieces(&got);
		put_info(info);
		if (info->id != id || info->sender != get_u64(client, KBUS_PEER_ID))
			fault("another request");
		end_line();
		part = (struct iovec){ payload, sizeof(payload) };
		msg.namelen = sizeof(from);
		need("recvmsg", sys_recvmsg(server, &msg, MSG_DONTWAIT));
		put("reply:");
		say("namelen", msg.namelen == (int)(2 + length(from.sun_path) + 1));
		part = (struct iovec){ "payload", 7 };
		say("gives", sys_sendmsg(server, &msg, 0));
		receive_pieces(client, &scene, 4000, 0, &got);
		put_pieces(&got);
		put_info(info);
		if (info->in_reply_to != id || info->to != get_u64(client, KBUS_PEER_ID))
			fault("another reply");
		end_line();
	}
}

/* Options whose value is another one each time: only its length is told. */
static bool is_own(int level, int option)
{
	static const int kbus[] = {
		KBUS_PEER_ID, KBUS_LAST_SENT, KBUS_SYNC, KBUS_BUS_INFO,
	};
	/* Processes, descriptors, cookies, processors: SO_PEERPIDFD is closed. */
	static const int core[] = {
		SO_PEERCRED, SO_PEERPIDFD, SO_COOKIE, SO_INCOMING_CPU, SO_MEMINFO,
	};
	const int *own = level == SOL_KBUS ? kbus : core;
	size_t count = level == SOL_KBUS ? COUNT(kbus) : COUNT(core), i;

	for (i = 0; i < count; i++)
		if (own[i] == option)
			return true;
	return false;
}

/* The time limits in the program's words have a subject of their own. */
static bool is_of_words(int level, int option)
{
	return level == SOL_SOCKET && (option == SO_RCVTIMEO_OLD || option == SO_SNDTIMEO_OLD);
}

static void try_get(int fd, int level, int option, unsigned int room)
{
	unsigned char value[64] __attribute__((aligned(8)));
	unsigned int len = room, i;
	int ret;

	memset(value, POISON, sizeof(value));
	ret = sys_getsockopt(fd, level, option, value, &len);
	say("get", room);
	say("gives", ret);
	if (ret >= 0 && level == SOL_SOCKET && option == SO_PEERPIDFD)
		sys_close(*(int *)value);
	if (ret < 0)
		return;
	say("len", len);
	for (i = len > room ? room : len; i < sizeof(value); i++)
		if (value[i] != POISON) {
			fault("written to where there was no room");
			return;
		}
	if (is_own(level, option) || len > room)
		return;
	put(" value");
	for (i = 0; i < len; i++) {
		put(" ");
		put_hex(value[i]);
	}
}

/* Each option in each length that may be one of its own. */
static void subject_options(void)
{
	static const int levels[] = { SOL_KBUS, SOL_SOCKET };
	static const unsigned int rooms[] = {
		0, 1, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 47, 48, 49, 64,
	};
	unsigned int at, i;
	int option;

	for (at = 0; at < COUNT(levels); at++) {
		int level = levels[at];

		for (option = 0; option < 100; option++) {
			if (is_of_words(level, option))
				continue;
			for (i = 0; i < COUNT(rooms); i++) {
				unsigned char value[64] = { 1 };
				int fd = listener(), back;

				send_with(fd, NAME, NULL, 0);
				put(level == SOL_KBUS ? "kbus" : "socket");
				say("option", option);
				try_get(fd, level, option, rooms[i]);
				back = sys_setsockopt(fd, level, option, value, rooms[i]);
				say("set", rooms[i]);
				say("gives", back);
				if (back >= 0)
					try_get(fd, level, option, rooms[i]);
				end_line();
				sys_close(fd);
			}
		}
	}
}

/* Values of 64 bits, whole. */
static void subject_wide_options(void)
{
	static const __u64 sizes[] = { 1, 0xffffffff, 0x100000000, 0xffffffffffffffff };
	struct kbus_bus_info info;
	unsigned int len = sizeof(info), i;
	int fd = listener();
	__u64 peer, own = get_u64(fd, KBUS_PEER_ID);
	char name[80];

	for (i = 0; i < COUNT(sizes); i++) {
		__u64 before = get_u64(fd, KBUS_BUS_BYTES);
		int ret = sys_setsockopt(fd, SOL_KBUS, KBUS_BUS_BYTES, &sizes[i], sizeof(sizes[i]));

		put("KBUS_BUS_BYTES");
		say("gives", ret);
		if (get_u64(fd, KBUS_BUS_BYTES) != (ret ? before : sizes[i]))
			fault("another value");
		end_line();
	}
	need("KBUS_BUS_INFO", sys_getsockopt(fd, SOL_KBUS, KBUS_BUS_INFO, &info, &len));
	put("KBUS_BUS_INFO");
	say("len", len);
	say("uid", info.uid);
	say("gid", info.gid);
	say("mode", info.mode);
	say("members", info.members);
	say("bindings", info.bindings);
	say("max_msg", info.max_msg);
	say("bytes", info.bytes);
	if (!info.domain || info.bytes_max != get_u64(fd, KBUS_BUS_BYTES))
		fault("wrong KBUS_BUS_INFO");
	end_line();

	/* The replier of a connected name, and of one that the buffer begins with. */
	set_name(fd, KBUS_REPLIER, NAME, length(NAME));
	for (len = 0; len <= 16; len++) {
		unsigned int room = len;
		int ret;

		memset(name, 0, sizeof(name));
		memcpy(name, NAME, length(NAME));
		ret = sys_getsockopt(fd, SOL_KBUS, KBUS_REPLIER, name, &room);
		put("KBUS_REPLIER");
		say("room", len);
		say("gives", ret);
		say("len", room);
		memcpy(&peer, name, sizeof(peer));
		if (!ret && peer != own)
			fault("another replier");
		end_line();
	}
	for (i = 0; i < 2; i++) {
		int ret = sys_setsockopt(fd, SOL_KBUS, KBUS_IGNORE, &own, i ? 8 : 4);

		put("KBUS_IGNORE");
		say("gives", ret);
		end_line();
	}
	put("KBUS_NEXT_LEN ");
	put_hex(get_u64(fd, KBUS_NEXT_LEN));
	end_line();
}

/* One time limit: of the old options in the program's words, of the new ones in 64 bits. */
static void try_limit(int option, bool new, __s64 seconds, __s64 rest)
{
	long words[2] = { seconds, rest };
	__s64 wide[2] = { seconds, rest };
	void *value = new ? (void *)wide : words;
	unsigned int size = new ? sizeof(wide) : sizeof(words), len = size;
	int fd = listener(), ret;

	ret = sys_setsockopt(fd, SOL_SOCKET, option, value, size);
	say("gives", ret);
	memset(wide, POISON, sizeof(wide));
	memset(words, POISON, sizeof(words));
	need("getsockopt", sys_getsockopt(fd, SOL_SOCKET, option, value, &len));
	if (len != size)
		fault("another length");
	put(" is ");
	put_hex(new ? wide[0] : words[0]);
	put(".");
	put_hex(new ? wide[1] : words[1]);
	say("one byte less", sys_setsockopt(fd, SOL_SOCKET, option, value, size - 1));
	sys_close(fd);
}

/* Sets a limit of 20 ms and sees a call end by it. */
static void try_wait(int option, bool new)
{
	static struct control control;
	struct kbus_send send = { .flags = KBUS_ALL_OR_WAIT };
	long words[2] = { 0, 20000 };
	__s64 wide[2] = { 0, 20000 };
	struct msghdr msg = { 0 };
	struct sockaddr_un at;
	__u64 before = sys_now(), took;
	int fd = bound_socket(), full = listener(), ret;

	set_int(full, SOL_KBUS, KBUS_QUEUE_LEN, 1);
	need("filling", send_with(fd, NAME, NULL, 0));
	need("limit", sys_setsockopt(fd, SOL_SOCKET, option, new ? (void *)wide : words,
				     new ? sizeof(wide) : sizeof(words)));
	if (option == SO_RCVTIMEO_OLD || option == SO_RCVTIMEO_NEW) {
		ret = sys_recvmsg(fd, &msg, 0);
	} else {
		control.len = 0;
		add(&control, SOL_KBUS, SCM_KBUS_SEND, &send, sizeof(send));
		msg.name = &at;
		msg.namelen = address(&at, NAME, length(NAME));
		msg.control = control.data;
		msg.controllen = control.len;
		ret = sys_sendmsg(fd, &msg, 0);
	}
	took = sys_now() - before;
	say("the call gives", ret);
	/* It counts ticks of the clock, and the first of them may be nearly over. */
	if (took < 10000000)
		fault("the call ended too early");
	sys_close(fd);
	sys_close(full);
}

/* Each time limit in both forms. */
static void subject_timeouts(void)
{
	static const struct {
		int option;
		bool new;
		const char *name;
	} limits[] = {
		{ SO_RCVTIMEO_OLD, false, "SO_RCVTIMEO_OLD" },
		{ SO_RCVTIMEO_NEW, true, "SO_RCVTIMEO_NEW" },
		{ SO_SNDTIMEO_OLD, false, "SO_SNDTIMEO_OLD" },
		{ SO_SNDTIMEO_NEW, true, "SO_SNDTIMEO_NEW" },
	};
	static const __s64 values[][2] = {
		{ 0, 0 }, { 0, 1 }, { 1, 500000 }, { 0, 999999 }, { 0, 1000000 }, { 0, -1 },
		{ -1, 0 }, { -1, 1000000 }, { 0x7fffffff, 0 },
		/* For the new ones only. */
		{ 0x80000000, 0 }, { 0x100000001, 1 }, { 0x7fffffffffffffff, 999999 },
	};
	unsigned int i, n;

	for (i = 0; i < COUNT(limits); i++) {
		for (n = 0; n < COUNT(values); n++) {
			if (!limits[i].new && values[n][0] > 0x7fffffff)
				continue;
			put(limits[i].name);
			say("number", n);
			try_limit(limits[i].option, limits[i].new, values[n][0], values[n][1]);
			end_line();
		}
		put(limits[i].name);
		try_wait(limits[i].option, limits[i].new);
		end_line();
	}
}

/* What ioctl() says of an empty queue and of one with a message. */
static void subject_ioctls(void)
{
	static const struct {
		unsigned int cmd;
		const char *name;
		bool only_the_result;
	} ioctls[] = {
		{ FIONREAD, "FIONREAD" }, { SIOCOUTQ, "SIOCOUTQ" }, { SIOCATMARK, "SIOCATMARK" },
		{ SIOCINQ, "SIOCINQ" }, { SIOCGPGRP, "SIOCGPGRP" }, { FIONBIO, "FIONBIO" },
		{ FIOASYNC, "FIOASYNC" }, { SIOCGSTAMP_OLD, "SIOCGSTAMP_OLD", true },
		{ SIOCGSTAMP_NEW, "SIOCGSTAMP_NEW", true },
		{ SIOCGSTAMPNS_OLD, "SIOCGSTAMPNS_OLD", true },
		{ SIOCGSTAMPNS_NEW, "SIOCGSTAMPNS_NEW", true }, { 0x12345678, "an unknown one" },
	};
	unsigned int i, n;
	int fd = listener();

	for (n = 0; n < 3; n++) {
		for (i = 0; i < COUNT(ioctls); i++) {
			int value[8] = { -1 };
			int ret = sys_ioctl(fd, ioctls[i].cmd, value);

			put(ioctls[i].name);
			say("gives", ret);
			if (!ioctls[i].only_the_result)
				say("value", value[0]);
			say("without a place", sys_ioctl(fd, ioctls[i].cmd, NULL));
			end_line();
		}
		send_with(fd, NAME, NULL, 0);
	}
}

/* Several messages in one call, each with control data of its own. */
static void subject_several(void)
{
	static struct control control[3];
	static unsigned char buffer[3][256] __attribute__((aligned(8)));
	static const unsigned int room[] = {
		CMSG_SPACE(sizeof(struct kbus_info)), CMSG_LEN(sizeof(struct kbus_info)),
		CMSG_LEN(sizeof(struct kbus_info)) - 1,
	};
	struct mmsghdr msgs[3] = { 0 };
	struct sockaddr_un to, from[3];
	struct iovec part[3];
	int fd = listener(), i, count, wait;

	for (i = 0; i < 3; i++) {
		struct kbus_send send = { .flags = (__u32)(i + 1) << 16 };

		control[i].len = 0;
		add(&control[i], SOL_KBUS, SCM_KBUS_SEND, &send, sizeof(send));
		part[i] = (struct iovec){ "payload", i };
		msgs[i].hdr = (struct msghdr){
			.name = &to, .namelen = address(&to, NAME, length(NAME)), .iov = &part[i],
			.iovlen = 1, .control = control[i].data, .controllen = control[i].len,
		};
	}
	for (wait = 0; wait < 2; wait++) {
		put("sendmmsg");
		say("gives", sys_sendmmsg(fd, msgs, 3));
		for (i = 0; i < 3; i++)
			say("sent", msgs[i].len);
		end_line();
	}
	for (wait = 0; wait < 2; wait++) {
		for (i = 0; i < 3; i++) {
			part[i] = (struct iovec){ buffer[i], 16 };
			msgs[i].hdr = (struct msghdr){
				.name = &from[i], .namelen = sizeof(from[i]), .iov = &part[i],
				.iovlen = 1, .control = buffer[i] + 16, .controllen = room[i],
			};
		}
		count = need("recvmmsg", sys_recvmmsg(fd, msgs, 3, wait ? 0 : MSG_DONTWAIT));
		put("recvmmsg");
		say("gives", count);
		for (i = 0; i < count; i++) {
			struct kbus_info *info = (void *)(buffer[i] + 16 + sizeof(struct cmsghdr));

			say("len", msgs[i].len);
			say("flags", msgs[i].hdr.flags);
			say("all used", room[i] == msgs[i].hdr.controllen);
			if (msgs[i].hdr.controllen)
				put_info(info);
		}
		end_line();
	}
}

/* Addresses have no words in them. */
static void subject_plain_calls(void)
{
	struct sockaddr_un at, from = { 0 };
	unsigned int len = sizeof(from), to_len = address(&at, NAME, length(NAME));
	char payload[16];
	int fd = listener();

	put("sendto");
	say("gives", call6(__NR_sendto, fd, (long)"payload", 7, 0, (long)&at, to_len));
	put(" recvfrom");
	say("gives", call6(__NR_recvfrom, fd, (long)payload, sizeof(payload), MSG_DONTWAIT,
			   (long)&from, (long)&len));
	say("from", len == 2 + length(from.sun_path) + 1 && same(from.sun_path, NAME "@", 6));
	put(" connect");
	say("gives", sys_connect(fd, &at, to_len));
	put(" write");
	say("gives", call(__NR_write, fd, "payload", 7, 0, 0));
	put(" read");
	say("gives", call(__NR_read, fd, payload, sizeof(payload), 0, 0));
	end_line();
}

#define FIELD(type, size, field, at)							\
	do {										\
		_Static_assert(offsetof(struct type, field) == (at), #type "." #field);	\
		_Static_assert(sizeof(((struct type *)0)->field) == (size), #type "." #field); \
	} while (0)
#define SIZE(type, size)								\
	do {										\
		_Static_assert(sizeof(struct type) == (size), #type);			\
		put(#type);								\
		say("size", sizeof(struct type));					\
		end_line();								\
	} while (0)

/* The compiler has compared all that there is to compare. */
static void subject_layout(void)
{
	SIZE(kbus_send, 16);
	FIELD(kbus_send, 4, flags, 0);
	FIELD(kbus_send, 4, reply_max, 4);
	FIELD(kbus_send, 8, cookie, 8);

	SIZE(kbus_info, 56);
	FIELD(kbus_info, 8, id, 0);
	FIELD(kbus_info, 8, in_reply_to, 8);
	FIELD(kbus_info, 8, cookie, 16);
	FIELD(kbus_info, 8, sender, 24);
	FIELD(kbus_info, 8, to, 32);
	FIELD(kbus_info, 4, len, 40);
	FIELD(kbus_info, 4, flags, 44);
	FIELD(kbus_info, 4, lost, 48);
	FIELD(kbus_info, 4, error, 52);

	SIZE(kbus_via, 32);
	FIELD(kbus_via, 8, orig_net, 0);
	FIELD(kbus_via, 8, orig_peer, 8);
	FIELD(kbus_via, 8, final_net, 16);
	FIELD(kbus_via, 8, final_peer, 24);

	SIZE(kbus_bind_event, 16);
	FIELD(kbus_bind_event, 8, peer, 0);
	FIELD(kbus_bind_event, 4, is_bind, 8);
	FIELD(kbus_bind_event, 4, name_len, 12);
	_Static_assert(offsetof(struct kbus_bind_event, name) == 16, "kbus_bind_event.name");

	SIZE(kbus_bus_info, 48);
	FIELD(kbus_bus_info, 8, domain, 0);
	FIELD(kbus_bus_info, 8, bytes, 8);
	FIELD(kbus_bus_info, 8, bytes_max, 16);
	FIELD(kbus_bus_info, 4, uid, 24);
	FIELD(kbus_bus_info, 4, gid, 28);
	FIELD(kbus_bus_info, 4, mode, 32);
	FIELD(kbus_bus_info, 4, members, 36);
	FIELD(kbus_bus_info, 4, bindings, 40);
	FIELD(kbus_bus_info, 4, max_msg, 44);
}

static const struct {
	const char *name;
	void (*run)(void);
} subjects[] = {
	{ "layout", subject_layout },
	{ "plain_calls", subject_plain_calls },
	{ "receive", subject_receive },
	{ "no_buffer", subject_no_buffer },
	{ "send", subject_send },
	{ "request", subject_request },
	{ "options", subject_options },
	{ "wide_options", subject_wide_options },
	{ "timeouts", subject_timeouts },
	{ "ioctls", subject_ioctls },
	{ "several", subject_several },
};

/* The name of a bus that no other process has. */
static void name_bus(void)
{
	memset(bus, 0, sizeof(bus));
	filled = 0;
	put("abi-");
	put_hex(call(__NR_getpid, 0, 0, 0, 0, 0));
	memcpy(bus + 1, line, filled);
	bus_len = filled + 1;
	filled = 0;
}

static void begin(long *stack)
{
	char **args = (char **)(stack + 1);
	unsigned int i;

	_Static_assert(sizeof(struct cmsghdr) == (sizeof(long) == 8 ? 16 : 12), "cmsghdr");
	if (stack[0] != 3)
		leave(2);
	family = args[1][0] == 'l' ? AF_UNIX : AF_KBUS;
	protocol = args[1][0] == 'l' ? PROTO_KBUS : 0;
	name_bus();
	for (i = 0; i < COUNT(subjects); i++) {
		if (length(args[2]) != length(subjects[i].name) ||
		    !same(args[2], subjects[i].name, length(args[2])))
			continue;
		subjects[i].run();
		put("end");
		end_line();
		leave(failed);
	}
	leave(2);
}
