#include "services/edge/sends.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/strbuf.h"

#define FLAGS (MSG_NOSIGNAL | MSG_DONTWAIT)

struct write_of {
	void *who;
	ssize_t result;
	struct msghdr msg;
	struct iovec iov[SENDS_VECTORS];
};

struct sends {
	struct io_uring ring;
	unsigned n;
	struct write_of list[SENDS_MAX];
};

/* Both operations are older than what tells that they are there (Linux 5.6). */
static bool can_send(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	bool can = probe && io_uring_opcode_supported(probe, IORING_OP_SEND) &&
		   io_uring_opcode_supported(probe, IORING_OP_SENDMSG);

	io_uring_free_probe(probe);
	return can;
}

struct sends *sends_new(struct error *err)
{
	struct sends *s = xcalloc(1, sizeof(*s));
	int rc = io_uring_queue_init(SENDS_MAX, &s->ring, 0);

	if (rc) {
		err_set(err, ERR_TRANSIENT, "io_uring: %s", strerror(-rc));
		free(s);
		return NULL;
	}
	if (!can_send(&s->ring)) {
		err_set(err, ERR_TRANSIENT, "io_uring: it cannot send");
		sends_free(s);
		return NULL;
	}
	return s;
}

void sends_free(struct sends *s)
{
	if (!s)
		return;
	io_uring_queue_exit(&s->ring);
	free(s);
}

void sends_add(struct sends *s, int fd, const struct iovec *iov, int n, void *who)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);
	struct write_of *w = &s->list[s->n];

	assert(sqe && n >= 1 && n <= SENDS_VECTORS);
	w->who = who;
	w->result = -EINTR;
	if (n == 1) {
		io_uring_prep_send(sqe, fd, iov->iov_base, iov->iov_len, FLAGS);
	} else {
		memcpy(w->iov, iov, (size_t)n * sizeof(*iov));
		w->msg = (struct msghdr){.msg_iov = w->iov, .msg_iovlen = (size_t)n};
		io_uring_prep_sendmsg(sqe, fd, &w->msg, FLAGS);
	}
	sqe->user_data = s->n++;
}

/* The number of writes that have come to an end. */
static unsigned reap(struct sends *s)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe(&s->ring, head, cqe)
	{
		s->list[cqe->user_data].result = cqe->res;
		n++;
	}
	io_uring_cq_advance(&s->ring, n);
	return n;
}

bool sends_go(struct sends *s, void (*done)(void *who, ssize_t result))
{
	unsigned ended = 0, before;
	bool whole = true;
	int rc;

	/* None of them waits for anything, so each has ended by the time it is submitted. */
	while (whole && ended < s->n) {
		before = ended;
		rc = io_uring_submit_and_wait(&s->ring, s->n - ended);
		ended += reap(s);
		whole = rc == -EINTR || (rc >= 0 && ended > before);
	}
	for (unsigned i = 0; i < s->n; i++)
		done(s->list[i].who, s->list[i].result);
	s->n = 0;
	return whole;
}
