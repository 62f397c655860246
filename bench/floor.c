/* What the kernel alone takes to write to many sockets: a bare loop, beside which the edge's cost
 * can be put.
 *
 *     cc -O2 -o build/floor bench/floor.c -luring && build/floor 1000 && build/floor 15000
 *
 * One process holds so many TCP connections over 127.0.0.1 and 60 times a second sends 350 bytes to
 * 1,000 of them in io_uring batches of 256, as a reactor does (services/edge/sends.c), to the next
 * 1,000 each time; another reads. It does nothing else, so what its CPU a write grows by with the
 * connections is the kernel's. */
#define _GNU_SOURCE
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GROUP   1000
#define BATCH   256
#define BYTES   350
#define RATE    60
#define SECONDS 10

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void reader(int n, unsigned short port)
{
	struct sockaddr_in at = {
	    .sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event ready[512];
	static char buffer[65536];
	int epoll = epoll_create1(0);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; i < n; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};

		if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at)) ||
		    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e))
			die("connect");
	}
	for (int open = n; open > 0;)
		for (int k = epoll_wait(epoll, ready, 512, -1); k-- > 0;)
			if (read(ready[k].data.fd, buffer, sizeof(buffer)) <= 0) {
				close(ready[k].data.fd);
				open--;
			}
	exit(0);
}

static void send_batch(struct io_uring *ring, const int *fds, int n)
{
	static const char frame[BYTES];
	struct io_uring_cqe *cqe;

	for (int i = 0; i < n; i++)
		io_uring_prep_send(io_uring_get_sqe(ring), fds[i], frame, BYTES,
				   MSG_NOSIGNAL | MSG_DONTWAIT);
	if (io_uring_submit_and_wait(ring, (unsigned)n) != n)
		die("io_uring");
	for (int i = 0; i < n; i++) {
		if (io_uring_wait_cqe(ring, &cqe) || cqe->res != BYTES)
			die("send");
		io_uring_cqe_seen(ring, cqe);
	}
}

static double cpu(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 0, one = 1, *fds = calloc((size_t)n + 1, sizeof(int)),
	    listener = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	struct rlimit files = {65536, 65536};
	struct timespec next;
	struct io_uring ring;
	double before;

	if (n < GROUP || n % GROUP) {
		fprintf(stderr, "how many connections? A multiple of %d\n", GROUP);
		return 1;
	}
	setrlimit(RLIMIT_NOFILE, &files);
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, 4096) ||
	    getsockname(listener, (struct sockaddr *)&at, &len) ||
	    io_uring_queue_init(BATCH, &ring, 0))
		die("start");
	if (!fork())
		reader(n, at.sin_port);
	for (int i = 0; i < n; i++) {
		fds[i] = accept(listener, NULL, NULL);
		if (fds[i] < 0)
			die("accept");
		setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
	clock_gettime(CLOCK_MONOTONIC, &next);
	before = 0;
	for (int turn = 0; turn < RATE * (SECONDS + 2); turn++) {
		const int *group = fds + turn * GROUP % n;

		if (turn == RATE * 2)
			before = cpu();
		for (int i = 0; i < GROUP; i += BATCH)
			send_batch(&ring, group + i, GROUP - i < BATCH ? GROUP - i : BATCH);
		next.tv_nsec += 1000000000 / RATE;
		next.tv_sec += next.tv_nsec / 1000000000;
		next.tv_nsec %= 1000000000;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
	printf("%d connections: %.2f CPU s per million writes\n", n,
	       (cpu() - before) / (RATE * SECONDS * GROUP) * 1e6);
	return 0;
}
