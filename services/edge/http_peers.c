#include "services/edge/http_peers.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "common/strbuf.h"

struct peer {
	struct peer *prev, *next;
	int64_t end_us;
	int fd;
	bool waited; /* is in the list */
};

void peers_init(struct peers *p, int64_t patience_us)
{
	*p = (struct peers){.patience_us = patience_us};
	pthread_mutex_init(&p->lock, NULL);
}

void peers_done(struct peers *p)
{
	pthread_mutex_destroy(&p->lock);
}

static void take_out(struct peers *p, struct peer *peer)
{
	if (!peer->waited)
		return;
	*(peer->prev ? &peer->prev->next : &p->first) = peer->next;
	*(peer->next ? &peer->next->prev : &p->last) = peer->prev;
	peer->prev = peer->next = NULL;
	peer->waited = false;
}

static void append(struct peers *p, struct peer *peer, int64_t now_us)
{
	peer->end_us = now_us + p->patience_us;
	peer->prev = p->last;
	*(p->last ? &p->last->next : &p->first) = peer;
	p->last = peer;
	peer->waited = true;
}

void peer_wait(struct peers *p, struct peer *peer, int64_t now_us)
{
	pthread_mutex_lock(&p->lock);
	take_out(p, peer);
	append(p, peer, now_us);
	pthread_mutex_unlock(&p->lock);
}

void peer_stop(struct peers *p, struct peer *peer)
{
	pthread_mutex_lock(&p->lock);
	take_out(p, peer);
	pthread_mutex_unlock(&p->lock);
}

struct peer *peer_open(struct peers *p, int fd, int64_t now_us)
{
	struct peer *peer = xcalloc(1, sizeof(*peer));

	peer->fd = fd;
	peer_wait(p, peer, now_us);
	return peer;
}

void peer_close(struct peers *p, struct peer *peer)
{
	if (!peer)
		return;
	peer_stop(p, peer);
	free(peer);
}

size_t peers_sweep(struct peers *p, int64_t now_us)
{
	size_t n = 0;

	pthread_mutex_lock(&p->lock);
	while (p->first && p->first->end_us <= now_us) {
		(void)shutdown(p->first->fd, SHUT_RDWR);
		take_out(p, p->first);
		n++;
	}
	pthread_mutex_unlock(&p->lock);
	return n;
}
