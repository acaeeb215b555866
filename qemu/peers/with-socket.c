// SPDX-License-Identifier: GPL-2.0
/*
 * Starts a broker as systemd does: with a socket that listens as descriptor 3, and with a journal
 * to log to. What is logged there nobody reads. Usage: with-socket PATH PROGRAM [ARGUMENT]...
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int bound(const char *path, int type)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) ||
	    (type == SOCK_STREAM && listen(fd, 128))) {
		perror(path);
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	char pid[16];

	if (argc < 3)
		return 2;
	if (bound(argv[1], SOCK_STREAM) != 3) {
		fprintf(stderr, "descriptor 3 is in use\n");
		return 1;
	}
	mkdir("/run/systemd", 0755);
	mkdir("/run/systemd/journal", 0755);
	bound("/run/systemd/journal/socket", SOCK_DGRAM);
	snprintf(pid, sizeof(pid), "%d", getpid());
	setenv("LISTEN_FDS", "1", 1);
	setenv("LISTEN_PID", pid, 1);
	execv(argv[2], argv + 2);
	perror(argv[2]);
	return 1;
}
