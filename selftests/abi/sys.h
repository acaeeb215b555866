/* SPDX-License-Identifier: GPL-2.0 */
/*
 * System calls and output without a C library: the build root has none for
 * 32 bits. Everything is in this one header, as there is one program.
 */
#ifndef KBUS_ABI_SYS_H
#define KBUS_ABI_SYS_H

#include <asm/ioctls.h>
#include <asm/socket.h>
#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/sockios.h>
#include <linux/time_types.h>
#include <linux/types.h>
#include <linux/un.h>
#include <stdbool.h>
#include <stddef.h>

#include <linux/kbus.h>

/* What <sys/socket.h> has; the kernel's headers for programs do not. */
#define AF_UNIX			1
#define SOCK_DGRAM		2
#define SOL_SOCKET		1
#define SCM_RIGHTS		1
#define SCM_CREDENTIALS		2
#define MSG_PEEK		0x2
#define MSG_CTRUNC		0x8
#define MSG_DONTWAIT		0x40

/* The structures of the system calls, in the words of this program. */
struct iovec {
	void *base;
	unsigned long len;
};

struct msghdr {
	void *name;
	int namelen;
	struct iovec *iov;
	unsigned long iovlen;
	void *control;
	unsigned long controllen;
	unsigned int flags;
};

struct mmsghdr {
	struct msghdr hdr;
	unsigned int len;
};

struct cmsghdr {
	unsigned long len;
	int level;
	int type;
};

struct ucred {
	__u32 pid, uid, gid;
};

/* Control data is aligned to the words of the program. */
#define ALIGN(len)		(((len) + sizeof(long) - 1) & ~(sizeof(long) - 1))
#define CMSG_LEN(len)		(sizeof(struct cmsghdr) + (len))
#define CMSG_SPACE(len)		(sizeof(struct cmsghdr) + ALIGN(len))

static long call6(long nr, long a, long b, long c, long d, long e, long f)
{
	long ret;

#ifdef __i386__
	/* The sixth argument is in ebp, which the compiler may be using. */
	long args[] = { a, f }, *at = args;

	asm volatile("pushl %%ebp\n\t"
		     "movl 4(%%ebx), %%ebp\n\t"
		     "movl (%%ebx), %%ebx\n\t"
		     "int $0x80\n\t"
		     "popl %%ebp"
		     : "=a" (ret), "+b" (at)
		     : "0" (nr), "c" (b), "d" (c), "S" (d), "D" (e)
		     : "memory");
#else
	register long r10 asm("r10") = d;
	register long r8 asm("r8") = e;
	register long r9 asm("r9") = f;

	asm volatile("syscall"
		     : "=a" (ret)
		     : "0" (nr), "D" (a), "S" (b), "d" (c), "r" (r10), "r" (r8), "r" (r9)
		     : "rcx", "r11", "memory");
#endif
	return ret;
}

#define call(nr, a, b, c, d, e) \
	call6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

static inline int sys_close(int fd)
{
	return call(__NR_close, fd, 0, 0, 0, 0);
}

static inline int sys_socket(int family, int type, int protocol)
{
	return call(__NR_socket, family, type, protocol, 0, 0);
}

static inline int sys_bind(int fd, const void *addr, unsigned int len)
{
	return call(__NR_bind, fd, addr, len, 0, 0);
}

static inline int sys_connect(int fd, const void *addr, unsigned int len)
{
	return call(__NR_connect, fd, addr, len, 0, 0);
}

static inline int sys_setsockopt(int fd, int level, int name, const void *value, unsigned int len)
{
	return call(__NR_setsockopt, fd, level, name, value, len);
}

static inline int sys_getsockopt(int fd, int level, int name, void *value, unsigned int *len)
{
	return call(__NR_getsockopt, fd, level, name, value, len);
}

static inline int sys_sendmsg(int fd, const struct msghdr *msg, unsigned int flags)
{
	return call(__NR_sendmsg, fd, msg, flags, 0, 0);
}

static inline int sys_recvmsg(int fd, struct msghdr *msg, unsigned int flags)
{
	return call(__NR_recvmsg, fd, msg, flags, 0, 0);
}

static inline int sys_sendmmsg(int fd, struct mmsghdr *msgs, unsigned int count)
{
	return call(__NR_sendmmsg, fd, msgs, count, 0, 0);
}

/* Without a time limit; whether one would be of 32 or 64 bits makes no difference then. */
static inline int sys_recvmmsg(int fd, struct mmsghdr *msgs, unsigned int count, unsigned int flags)
{
	return call(__NR_recvmmsg, fd, msgs, count, flags, 0);
}

static inline int sys_ioctl(int fd, unsigned int cmd, const void *arg)
{
	return call(__NR_ioctl, fd, cmd, arg, 0, 0);
}

static inline __u64 sys_now(void)
{
	struct __kernel_timespec now;

#ifdef __i386__
	call(__NR_clock_gettime64, 0, &now, 0, 0, 0);
#else
	call(__NR_clock_gettime, 0, &now, 0, 0, 0);
#endif
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

/* The compiler makes calls of these two by itself, and must not in them (-fno-tree-loop-...). */
void *memset(void *to, int byte, size_t len);
void *memset(void *to, int byte, size_t len)
{
	for (char *at = to; len--; at++)
		*at = byte;
	return to;
}

void *memcpy(void *to, const void *from, size_t len);
void *memcpy(void *to, const void *from, size_t len)
{
	const char *source = from;

	for (char *at = to; len--; at++)
		*at = *source++;
	return to;
}

static size_t length(const char *text)
{
	size_t len = 0;

	while (text[len])
		len++;
	return len;
}

static bool same(const void *a, const void *b, size_t len)
{
	const char *x = a, *y = b;

	while (len && *x++ == *y++)
		len--;
	return !len;
}

/* Output is a line at a time. */
static char line[4096];
static size_t filled;
static bool failed;

static void put(const char *text)
{
	size_t len = length(text);

	if (len > sizeof(line) - filled)
		len = sizeof(line) - filled;
	memcpy(line + filled, text, len);
	filled += len;
}

static void put_hex(__u64 value)
{
	char text[17];
	int at = sizeof(text) - 1;

	text[at] = '\0';
	do
		text[--at] = "0123456789abcdef"[value & 15];
	while (value >>= 4);
	put(text + at);
}

static void put_int(long value)
{
	char text[24];
	unsigned long rest = value < 0 ? -(unsigned long)value : (unsigned long)value;
	int at = sizeof(text) - 1;

	text[at] = '\0';
	do
		text[--at] = '0' + rest % 10;
	while (rest /= 10);
	if (value < 0)
		text[--at] = '-';
	put(text + at);
}

static void end_line(void)
{
	put("\n");
	call(__NR_write, 1, line, filled, 0, 0);
	filled = 0;
}

/* Says one number under a name, within a line. */
static void say(const char *name, long value)
{
	put(" ");
	put(name);
	put(" ");
	put_int(value);
}

/* What must not be in either program: the line says where it is. */
static void fault(const char *what)
{
	put(" FAULT: ");
	put(what);
	end_line();
	failed = true;
}

static void __attribute__((noreturn)) leave(int status)
{
	for (;;)
		call(__NR_exit_group, status, 0, 0, 0, 0);
}

/* What must work, or nothing is tested. */
static int need(const char *what, int ret)
{
	if (ret < 0) {
		put(what);
		say("gave", ret);
		fault("cannot go on");
		leave(1);
	}
	return ret;
}

static void begin(long *stack) __attribute__((noreturn, used));

/* The stack as the kernel leaves it has the arguments; a function is called with it aligned. */
asm(".globl _start\n"
	"_start:\n"
	"\txorl %ebp, %ebp\n"
#ifdef __i386__
	"\tmovl %esp, %eax\n"
	"\tandl $-16, %esp\n"
	"\tsubl $12, %esp\n"
	"\tpushl %eax\n"
#else
	"\tmovq %rsp, %rdi\n"
	"\tandq $-16, %rsp\n"
#endif
	"\tcall begin\n");

#endif
