/* Who takes too long to send a request: libmicrohttpd's own timeout starts anew with each byte, so
 * a client that sends one now and then would keep its connection for ever ("slowloris").
 *
 * A connection has one time in which a request's headers must have come in whole, counted from when
 * it was accepted or its last answer went, and the same again for the body; then it is cut off. All
 * have the same time, so those that are waited for stand in the order of their ends. Threads: any;
 * cutting off is a shutdown() of the socket, which its owner sees as the client's own end. */
#ifndef PENSTOCK_EDGE_HTTP_PEERS_H
#define PENSTOCK_EDGE_HTTP_PEERS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct peer;

struct peers {
	pthread_mutex_t lock;
	struct peer *first, *last; /* by their ends */
	int64_t patience_us;
};

void peers_init(struct peers *p, int64_t patience_us);
void peers_done(struct peers *p); /* all were closed */

struct peer *peer_open(struct peers *p, int fd, int64_t now_us); /* and waits for it */
void peer_close(struct peers *p, struct peer *peer); /* before its fd is closed; NULL is fine */
void peer_wait(struct peers *p, struct peer *peer, int64_t now_us); /* anew, from now on */
void peer_stop(struct peers *p, struct peer *peer);                 /* it has said it all */

/* Cuts off those whose time is over; how many. */
size_t peers_sweep(struct peers *p, int64_t now_us);

#endif
