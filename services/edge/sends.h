/* Writes to many sockets through one system call: an io_uring, where the kernel lets us have one.
 *
 * What a write costs is mostly the way into the kernel and back and, on the way back, to be
 * preempted by the one who was just written to; a batch pays for both once. Only for writes that
 * do not wait: all are done when sends_go() returns, with what they came to. Readiness is epoll's
 * (common/loop.h).
 *
 * Threads: one at a time. Memory: about 70 KiB, whatever is written. */
#ifndef PENSTOCK_EDGE_SENDS_H
#define PENSTOCK_EDGE_SENDS_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "common/err.h"

#define SENDS_MAX     256 /* writes of a batch */
#define SENDS_VECTORS 8   /* pieces of a write */

struct sends;

/* NULL: the kernel has none, or its policy refuses. */
struct sends *sends_new(struct error *err);
void sends_free(struct sends *sends); /* NULL is fine */

/* The next write of the batch; at most SENDS_MAX. The pieces must stay until sends_go() returns,
 * the array need not. */
void sends_add(struct sends *sends, int fd, const struct iovec *iov, int n, void *who);
/* Writes them, and says of each in their order: bytes, or -errno. -EINTR: not tried. False: the
 * ring is of no use any more; what could not be tried was said to be so. */
bool sends_go(struct sends *sends, void (*done)(void *who, ssize_t result));

#endif
