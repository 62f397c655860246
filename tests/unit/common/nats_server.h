/* A private nats-server with JetStream, for tests: loopback, a free port, data in a temporary
 * folder.
 *
 * Threads: Check's. What fails, fails the test. */
#ifndef PENSTOCK_TEST_NATS_SERVER_H
#define PENSTOCK_TEST_NATS_SERVER_H

#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/common/remove.h"

struct nats_server {
	int pid, port;
	char dir[64];
};

static inline struct sockaddr_in nats_loopback(int port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons((uint16_t)port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static inline int nats_free_port(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in a = nats_loopback(0);
	socklen_t len = sizeof(a);

	ck_assert(bind(fd, (struct sockaddr *)&a, len) == 0);
	ck_assert(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	close(fd);
	return ntohs(a.sin_port);
}

static inline void nats_server_run(struct nats_server *s)
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
		struct sockaddr_in a = nats_loopback(s->port);
		bool up = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;

		close(fd);
		if (up)
			return;
		ck_assert_msg(waitpid(s->pid, NULL, WNOHANG) == 0, "nats-server does not run");
		poll(NULL, 0, 20);
	}
	ck_abort_msg("nats-server takes no connections");
}

/* Waits until it takes connections. */
static inline void nats_server_start(struct nats_server *s)
{
	snprintf(s->dir, sizeof(s->dir), "/tmp/penstock-nats-XXXXXX");
	ck_assert(mkdtemp(s->dir) != NULL);
	s->port = nats_free_port();
	nats_server_run(s);
}

/* SIGKILL. */
static inline void nats_server_kill(struct nats_server *s)
{
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	s->pid = 0;
}

/* Same port, same data. */
static inline void nats_server_restart(struct nats_server *s)
{
	nats_server_run(s);
}

static inline void nats_server_pause(struct nats_server *s, bool stop)
{
	kill(s->pid, stop ? SIGSTOP : SIGCONT);
}

static inline void nats_server_remove(struct nats_server *s)
{
	if (s->pid)
		nats_server_kill(s);
	remove_folder(s->dir);
}

#endif
