#include "tests/conformance/server.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons((uint16_t)port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int free_port(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in a = loopback(0);
	socklen_t len = sizeof(a);

	ck_assert(bind(fd, (struct sockaddr *)&a, len) == 0);
	ck_assert(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	close(fd);
	return ntohs(a.sin_port);
}

static void run(struct server *s)
{
	char port[16];

	snprintf(port, sizeof(port), "%d", s->port);
	s->pid = fork();
	ck_assert_int_ge(s->pid, 0);
	if (s->pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed assertion ends this process at once */
		dup2(null, 1);
		dup2(null, 2);
		execlp("nats-server", "nats-server", "-js", "-a", "127.0.0.1", "-p", port, "-sd",
		       s->dir, (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < 500; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		struct sockaddr_in a = loopback(s->port);
		bool up = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;

		close(fd);
		if (up)
			return;
		ck_assert_msg(waitpid(s->pid, NULL, WNOHANG) == 0, "nats-server does not run");
		poll(NULL, 0, 20);
	}
	ck_abort_msg("nats-server takes no connections");
}

void server_start(struct server *s)
{
	snprintf(s->dir, sizeof(s->dir), "/tmp/penstock-conformance-XXXXXX");
	ck_assert(mkdtemp(s->dir) != NULL);
	s->port = free_port();
	run(s);
}

void server_kill(struct server *s)
{
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	s->pid = 0;
}

void server_restart(struct server *s)
{
	run(s);
}

void server_pause(struct server *s, bool stop)
{
	kill(s->pid, stop ? SIGSTOP : SIGCONT);
}

static int unlink_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

void server_remove(struct server *s)
{
	if (s->pid)
		server_kill(s);
	nftw(s->dir, unlink_one, 16, FTW_DEPTH | FTW_PHYS);
}
