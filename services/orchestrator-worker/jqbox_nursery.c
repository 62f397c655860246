/* The process that has the helpers as children: it has one thread, so it may fork at any time. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "services/orchestrator-worker/jqbox_helper.h"

#define SLOTS 64

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static void limit(int what, rlim_t value)
{
	struct rlimit r = {.rlim_cur = value, .rlim_max = value};
	setrlimit(what, &r);
}

/* A program must see nothing of the worker: no environment (it holds the models' keys), no files.
 */
static _Noreturn void be_helper(int fd, int page_fd, const struct jqbox_limits *limits,
				pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	prctl(PR_SET_NAME, "penstock-jq");
	struct jqbox_page *page =
	    mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, page_fd, 0);
	if (page == MAP_FAILED || dup2(fd, 3) != 3)
		_exit(1);
	close_range(4, ~0U, 0);
	if (!SANITIZED) {
		int null = open("/dev/null", O_RDWR);
		for (int i = 0; null >= 0 && i < 3; i++)
			dup2(null, i); /* jq's `stderr` would write into the log */
		if (null > 3)
			close(null);
		limit(RLIMIT_NOFILE, 4);
		if (limits->memory_mb > 0)
			limit(RLIMIT_AS, (rlim_t)limits->memory_mb << 20);
	}
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_FSIZE, 0);
	clearenv();
	setenv("TZ", "UTC", 1);
	jqbox_helper(3, page, limits);
}

/* The descriptors that came with an order; -1 where none did. */
static ssize_t receive(int control, struct jqbox_order *order, int fds[2])
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} u;
	struct iovec iov = {.iov_base = order, .iov_len = sizeof(*order)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = u.space,
			     .msg_controllen = sizeof(u.space)};
	fds[0] = fds[1] = -1;
	ssize_t n = recvmsg(control, &msg, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	if (c != NULL && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(2 * sizeof(int)))
		memcpy(fds, CMSG_DATA(c), 2 * sizeof(int));
	return n;
}

void jqbox_nursery(int control, int64_t parent, const struct jqbox_limits *limits)
{
	pid_t children[SLOTS] = {0};
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != (pid_t)parent)
		_exit(0);
	prctl(PR_SET_NAME, "penstock-jqs");
	if (dup2(control, 3) != 3) /* nothing of the worker's stays open here */
		_exit(1);
	control = 3;
	close_range(4, ~0U, 0);
	signal(SIGINT, SIG_IGN); /* the worker decides when to go */
	signal(SIGTERM, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	for (;;) {
		struct jqbox_order order;
		int fds[2];
		ssize_t n = receive(control, &order, fds);
		if (n < 0 && errno == EINTR)
			continue;
		if (n != sizeof(order) || order.slot >= SLOTS)
			break;
		pid_t *child = &children[order.slot];
		if (*child > 0) {
			kill(*child, SIGKILL);
			waitpid(*child, NULL, 0);
			*child = 0;
		}
		if (order.kill == 0) {
			pid_t self = getpid();
			*child = fork();
			if (*child == 0)
				be_helper(fds[0], fds[1], limits, self);
		}
		if (fds[0] >= 0)
			close(fds[0]);
		if (fds[1] >= 0)
			close(fds[1]);
	}
	for (size_t i = 0; i < SLOTS; i++)
		if (children[i] > 0)
			kill(children[i], SIGKILL);
	_exit(0);
}
