#include "common/bus_nats.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/bus_nats_int.h"
#include "common/log.h"

#define DIAL_TIMEOUT_MS 1000
#define DIAL_MIN_MS     100
#define DIAL_MAX_MS     1000
#define ALIVE_US        2000000
#define SILENT_MAX                                                                                 \
	5 /* checks without a byte from the server until the connection counts as dead             \
	   */
#define GATHER_MAX    (256 << 10) /* bytes that a turn gathers before they are written */
#define IO_BUFFER     65536
#define DRAIN_MS      2000 /* at most, for cnats' own part of a drain */
#define SUB_MSGS_MAX  262144
#define SUB_BYTES_MAX (256 << 20)

/* What a subscription of cnats carries: enough to find ours, nothing that can go away under it. */
struct tap {
	struct core *core;
	uint32_t slot, gen;
};

static struct core *core_new(struct error *err)
{
	struct core *core = xcalloc(1, sizeof(*core));
	pthread_condattr_t attr;

	core->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (core->wake_fd < 0) {
		err_set(err, ERR_TRANSIENT, "eventfd: %s", strerror(errno));
		free(core);
		return NULL;
	}
	pthread_mutex_init(&core->mu, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&core->cond, &attr);
	pthread_condattr_destroy(&attr);
	core->refs = 1;
	return core;
}

/* cnats would leave each message to a thread of its own, which has to be woken and frees what this
 * one allocates, so that the two wait for each other in malloc(). What this function does not take
 * cnats frees at once, and ours is found before its own (docs/decisions/0049). */
bool natsGC_collect(void *item)
{
	(void)item;
	return false;
}

void core_retain(struct core *core)
{
	pthread_mutex_lock(&core->mu);
	core->refs++;
	pthread_mutex_unlock(&core->mu);
}

void core_release(struct core *core)
{
	pthread_mutex_lock(&core->mu);
	bool last = --core->refs == 0;
	pthread_mutex_unlock(&core->mu);

	if (!last)
		return;
	for (size_t i = 0; i < core->n; i++)
		natsMsg_Destroy(core->items[i].msg);
	free(core->items);
	close(core->wake_fd);
	pthread_cond_destroy(&core->cond);
	pthread_mutex_destroy(&core->mu);
	free(core);
}

/* --- from cnats to the loop ------------------------------------------------------------------
 *
 * The loop reads the socket, and cnats sorts what comes by subscription. What stores are answered
 * and what consumers get, the bulk of all, the loop takes from there at once ("direct"; for cnats
 * these are synchronous subscriptions). The messages of the others pass cnats' delivery thread,
 * which keeps the order among them and needs no look at each subscription, at the price of two
 * thread switches. That a direct subscription's request had no responder cnats tells by a status
 * without a message, so nobody knows which request it was; therefore the answers of each stream
 * have a subscription of their own. */
static void wake(struct core *core)
{
	ssize_t n = write(core->wake_fd, &(uint64_t){1}, sizeof(uint64_t));

	(void)n; /* only fails when the counter is full, and then the loop is awake */
}

static void on_delivery(natsConnection *nc, natsSubscription *ns, natsMsg *msg, void *arg)
{
	struct tap *tap = arg;
	struct core *core = tap->core;

	(void)nc;
	(void)ns;
	pthread_mutex_lock(&core->mu);
	if (core->closed) {
		pthread_mutex_unlock(&core->mu);
		natsMsg_Destroy(msg);
		return;
	}
	if (core->n == core->cap) {
		core->cap = core->cap ? core->cap * 2 : 256;
		core->items = xrealloc(core->items, core->cap * sizeof(*core->items));
	}
	if (core->n == 0)
		wake(core); /* the first of a batch: the loop takes all that has come until it looks
			     */
	core->items[core->n++] = (struct inbound){tap->slot, tap->gen, msg};
	pthread_mutex_unlock(&core->mu);
}

static void on_complete(void *arg)
{
	struct tap *tap = arg;
	struct core *core = tap->core;

	free(tap);
	pthread_mutex_lock(&core->mu);
	core->taps--;
	pthread_cond_broadcast(&core->cond);
	pthread_mutex_unlock(&core->mu);
	core_release(core);
}

/* Waits for cnats' delivery thread to be through with us: what it still holds at the very end of
 * the process it would not free any more. */
static void taps_wait(struct core *core)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += 2;
	pthread_mutex_lock(&core->mu);
	while (core->taps > 0 && pthread_cond_timedwait(&core->cond, &core->mu, &end) == 0)
		;
	pthread_mutex_unlock(&core->mu);
}

/* --- subscriptions --------------------------------------------------------------------------- */

bool subject_ok(const char *subject, bool wildcards)
{
	const char *token = subject;

	if (!subject || strlen(subject) > 1024)
		return false;
	for (const char *p = subject;; p++) {
		if (*p == '.' || *p == '\0') {
			size_t len = (size_t)(p - token);

			if (len == 0)
				return false;
			if (len == 1 && (*token == '*' || *token == '>') &&
			    (!wildcards || (*token == '>' && *p != '\0')))
				return false;
			token = p + 1;
			if (*p == '\0')
				return true;
		} else if ((unsigned char)*p <= ' ' || *p == 127) {
			return false;
		}
	}
}

static bool nsub_attach(struct nsub *sub)
{
	struct nbus *bus = sub->bus;
	struct tap *tap;
	natsStatus s;

	if (sub->ns || sub->draining || !bus->conn || bus->conn->dead)
		return sub->ns != NULL;
	tap = sub->direct ? NULL : xmalloc(sizeof(*tap));
	if (tap)
		*tap = (struct tap){bus->core, sub->slot, sub->gen};
	s = sub->direct ? natsConnection_SubscribeSync(&sub->ns, bus->conn->nc, sub->subject)
	    : sub->queue
		? natsConnection_QueueSubscribe(&sub->ns, bus->conn->nc, sub->subject, sub->queue,
						on_delivery, tap)
		: natsConnection_Subscribe(&sub->ns, bus->conn->nc, sub->subject, on_delivery, tap);
	if (s != NATS_OK) {
		sub->ns = NULL;
		free(tap);
		log_at(LOG_WARN, "cannot subscribe", LOG_S("subject", sub->subject),
		       LOG_S("error", natsStatus_GetText(s)));
		return false;
	}
	natsSubscription_SetPendingLimits(sub->ns, SUB_MSGS_MAX, SUB_BYTES_MAX);
	if (sub->direct)
		return true;
	pthread_mutex_lock(&bus->core->mu);
	bus->core->refs++;
	bus->core->taps++;
	pthread_mutex_unlock(&bus->core->mu);
	natsSubscription_SetOnCompleteCB(sub->ns, on_complete, tap);
	return true;
}

static void nsub_detach(struct nsub *sub)
{
	int64_t lost = 0;

	if (!sub->ns)
		return;
	if (natsSubscription_GetDropped(sub->ns, &lost) == NATS_OK && lost > 0)
		metric_add(sub->bus->m.dropped, lost);
	natsSubscription_Destroy(sub->ns);
	sub->ns = NULL;
}

struct nsub *nsub_open(struct nbus *bus, const char *subject, const char *queue, bool direct,
		       raw_fn *raw, void *arg)
{
	struct nsub *sub = xcalloc(1, sizeof(*sub));
	struct sub_slot *slot;

	if (bus->subs_free == NIL) {
		uint32_t old = bus->subs_cap;

		bus->subs_cap = old ? old * 2 : 64;
		bus->subs = xrealloc(bus->subs, bus->subs_cap * sizeof(*bus->subs));
		for (uint32_t i = bus->subs_cap; i-- > old;) {
			bus->subs[i] = (struct sub_slot){NULL, 0, bus->subs_free};
			bus->subs_free = i;
		}
	}
	sub->slot = bus->subs_free;
	slot = &bus->subs[sub->slot];
	bus->subs_free = slot->next_free;
	slot->sub = sub;
	sub->base.ops = &nbus_ops;
	sub->bus = bus;
	sub->gen = ++slot->gen;
	sub->subject = xstrdup(subject);
	sub->queue = queue ? xstrdup(queue) : NULL;
	sub->raw = raw;
	sub->arg = arg;
	sub->direct = direct && !queue && bus->n_direct < DIRECT_MAX;
	if (sub->direct)
		bus->direct[bus->n_direct++] = sub;
	nsub_attach(sub);
	return sub;
}

void nsub_close(struct nsub *sub)
{
	struct nbus *bus;

	if (!sub)
		return;
	bus = sub->bus;
	nsub_detach(sub);
	for (size_t i = 0; i < bus->n_direct; i++)
		if (bus->direct[i] == sub)
			bus->direct[i--] = bus->direct[--bus->n_direct];
	bus->subs[sub->slot].sub = NULL;
	bus->subs[sub->slot].next_free = bus->subs_free;
	bus->subs_free = sub->slot;
	free(sub->subject);
	free(sub->queue);
	free(sub);
}

static void raw_core(struct nbus *bus, void *arg, natsMsg *msg)
{
	struct nsub *sub = arg;
	struct bus_msg out;

	(void)bus;
	msg_core(msg, &out);
	sub->fn(sub->arg, &out);
}

static struct bus_sub *nbus_subscribe(struct bus *base, const char *subject, const char *queue,
				      bus_msg_fn *fn, void *arg, struct error *err)
{
	struct nbus *bus = nbus_of(base);
	struct nsub *sub;

	if (!subject_ok(subject, true) || (queue && !subject_ok(queue, false))) {
		err_set(err, ERR_REJECTED, "bad subject");
		return NULL;
	}
	sub = nsub_open(bus, subject, queue, false, raw_core, NULL);
	sub->fn = fn;
	sub->arg = arg;
	return (struct bus_sub *)(void *)sub;
}

static void nbus_unsubscribe(struct bus_sub *sub)
{
	nsub_close((struct nsub *)(void *)sub);
}

/* Time enough for what is under way; who asked for it unsubscribes when he has waited enough. */
void nsub_drain(struct nsub *sub)
{
	if (!sub->draining && sub->ns)
		natsSubscription_DrainTimeout(sub->ns, DRAIN_MS);
	sub->draining = true;
}

static void nbus_drain(struct bus_sub *base)
{
	nsub_drain((struct nsub *)(void *)base);
}

static void deliver(struct nbus *bus, const struct inbound *in)
{
	struct sub_slot *slot = in->slot < bus->subs_cap ? &bus->subs[in->slot] : NULL;

	if (!slot || !slot->sub || slot->gen != in->gen)
		return;
	slot->sub->raw(bus, slot->sub->fn ? slot->sub : slot->sub->arg, in->msg);
}

/* A callback may free the bus. */
static void deliver_all(struct nbus *bus, struct core *core, const struct inbound *items, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (core->bus)
			deliver(bus, &items[i]);
		natsMsg_Destroy(items[i].msg);
	}
}

static void raw_inbox(struct nbus *bus, void *arg, natsMsg *msg)
{
	const char *subject = natsMsg_GetSubject(msg);

	(void)arg;
	if (strlen(subject) > bus->inbox_len + 1)
		pend_answer(bus, subject + bus->inbox_len + 1, msg);
}

/* Is it an echo of ours? Then it is noted. */
static bool took_echo(struct nbus *bus, const struct nsub *sub, natsMsg *msg)
{
	const char *token;
	uint64_t n;

	if (sub != bus->acks_sub)
		return false;
	token = strrchr(natsMsg_GetSubject(msg), '.') + 1;
	if (*token != 'e')
		return false;
	n = strtoull(token + 1, NULL, 10);
	bus->echo_seen = n > bus->echo_seen ? n : bus->echo_seen;
	return true;
}

/* Takes what has come for one of the direct subscriptions from cnats; no callback runs. */
static void gather_from(struct nbus *bus, const struct nsub *sub)
{
	uint64_t n = 0;
	natsMsg *msg;
	natsStatus s;

	if (!sub->ns || natsSubscription_QueuedMsgs(sub->ns, &n) != NATS_OK)
		return;
	for (; n > 0; n--) {
		msg = NULL;
		s = natsSubscription_NextMsg(&msg, sub->ns, 0);
		if (s != NATS_OK && s != NATS_NO_RESPONDERS)
			break;
		if (msg && took_echo(bus, sub, msg)) {
			natsMsg_Destroy(msg);
			continue;
		}
		if (bus->n_got == bus->got_cap) {
			bus->got_cap = bus->got_cap ? bus->got_cap * 2 : 256;
			bus->got = xrealloc(bus->got, bus->got_cap * sizeof(*bus->got));
		}
		bus->got[bus->n_got++] = (struct inbound){sub->slot, sub->gen, msg};
	}
}

/* May free the bus. */
static void deliver_got(struct nbus *bus)
{
	struct core *core = bus->core;
	struct inbound *items = bus->got;
	size_t n = bus->n_got, cap = bus->got_cap;

	if (n == 0)
		return;
	core_retain(core);
	bus->got = NULL; /* a callback may gather: bus_flush() */
	bus->n_got = bus->got_cap = 0;
	deliver_all(bus, core, items, n);
	if (core->bus && !bus->got && cap <= 65536) {
		bus->got = items;
		bus->got_cap = cap;
	} else {
		free(items);
	}
	core_release(core);
}

/* --- the connection -------------------------------------------------------------------------- */

static natsStatus ev_attach(void **data, void *arg, natsConnection *nc, natsSock fd)
{
	struct nconn *conn = arg;

	(void)nc;
	*data = conn;
	if (conn->fd >= 0)
		close(conn->fd);
	conn->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return conn->fd < 0 ? NATS_ERR : NATS_OK;
}

static natsStatus ev_read(void *data, bool add)
{
	(void)data;
	(void)add;
	return NATS_OK;
}

static natsStatus ev_write(void *data, bool add)
{
	struct nconn *conn = data;

	conn->want_write = add;
	if (!add || !conn->core)
		return NATS_OK;
	/* The hook at the end of the turn does it; the timer is for calls from outside of a turn,
	 * the wake-up for those from a thread of cnats (nbus_drain()). */
	if (!loop_here(conn->loop))
		wake(conn->core);
	else if (conn->bus && !timer_armed(&conn->bus->write_timer))
		timer_set(conn->bus->loop, &conn->bus->write_timer, 0);
	return NATS_OK;
}

static natsStatus ev_detach(void *data)
{
	struct nconn *conn = data;

	conn->dead = true;
	return NATS_OK;
}

static void on_async_error(natsConnection *nc, natsSubscription *sub, natsStatus status, void *arg)
{
	(void)nc;
	(void)sub;
	(void)arg;
	log_at(LOG_WARN, "nats", LOG_S("error", natsStatus_GetText(status)));
}

static void nconn_free(struct nconn *conn)
{
	if (!conn)
		return;
	natsConnection_Destroy(conn->nc);
	if (conn->fd >= 0)
		close(conn->fd);
	free(conn);
}

static natsStatus options_for(natsOptions **out, const char *url, const char *name,
			      struct nconn *conn)
{
	natsOptions *o = NULL;
	natsStatus s = natsOptions_Create(&o);
	char *copy = xstrdup(url), *save = NULL;
	const char *urls[64];
	int n = 0;

	for (char *u = strtok_r(copy, ", ", &save); u && n < 64; u = strtok_r(NULL, ", ", &save))
		urls[n++] = u;
	if (s == NATS_OK)
		s = n ? natsOptions_SetServers(o, urls, n) : NATS_INVALID_ARG;
	free(copy);
	/* Reconnecting is ours: a connection of cnats that reconnects holds its lock while it waits
	 * for the network, and with it every caller. */
	if (s == NATS_OK)
		s = natsOptions_SetAllowReconnect(o, false);
	if (s == NATS_OK)
		s = natsOptions_SetTimeout(o, DIAL_TIMEOUT_MS);
	/* Liveness too (see on_alive): cnats' ping timer closes the socket from a thread of its
	 * own. */
	if (s == NATS_OK)
		s = natsOptions_SetPingInterval(o, 0);
	if (s == NATS_OK)
		s = natsOptions_SetIOBufSize(o, IO_BUFFER);
	if (s == NATS_OK)
		s = natsOptions_SetSendAsap(o, true); /* else: a flusher thread */
	if (s == NATS_OK)
		s = natsOptions_UseGlobalMessageDelivery(o, true);
	if (s == NATS_OK)
		s = natsOptions_SetName(o, name);
	if (s == NATS_OK)
		s = natsOptions_SetErrorHandler(o, on_async_error, NULL);
	if (s == NATS_OK && conn)
		s = natsOptions_SetEventLoop(o, conn, ev_attach, ev_read, ev_write, ev_detach);
	*out = o;
	return s;
}

/* cnats parses URLs only on connecting, so look for what it would choke on. */
static bool url_ok(const char *url)
{
	natsOptions *o = NULL;
	bool ok = url && *url && options_for(&o, url, "check", NULL) == NATS_OK;
	const char *p = url;

	natsOptions_Destroy(o);
	while (ok && *p) {
		size_t len = strcspn(p, ", ");
		const char *at = p;
		const char *scheme = memmem(p, len, "://", 3);

		if (scheme) {
			ok = (size_t)(scheme - p) <= 4 &&
			     (!strncmp(p, "nats", 4) || !strncmp(p, "tls", 3));
			at = scheme + 3;
		}
		if (len > 0 && at == p + len)
			ok = false;
		for (const char *c = p; c < p + len; c++)
			ok = ok && (unsigned char)*c > ' ' && *c != 127;
		p += len;
		p += strspn(p, ", ");
	}
	return ok;
}

static bool dial_sleep(struct core *core, int64_t ms)
{
	struct timespec at;
	bool go;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += ms / 1000;
	at.tv_nsec += ms % 1000 * 1000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&core->mu);
	while (!core->closed && pthread_cond_timedwait(&core->cond, &core->mu, &at) == 0)
		;
	go = !core->closed;
	pthread_mutex_unlock(&core->mu);
	return go;
}

struct dial {
	struct core *core;
	char *url, *name;
	bool no_echo;
	int64_t delay_ms;
	struct rng rng;
};

static struct nconn *dial_once(struct dial *d, bool log)
{
	struct nconn *conn = xcalloc(1, sizeof(*conn));
	natsOptions *o = NULL;
	natsStatus s;

	conn->fd = -1;
	s = options_for(&o, d->url, d->name, conn);
	if (s == NATS_OK && d->no_echo)
		s = natsOptions_SetNoEcho(o, true);
	if (s == NATS_OK)
		s = natsConnection_Connect(&conn->nc, o);
	natsOptions_Destroy(o);
	if (s == NATS_OK)
		return conn;
	if (log)
		log_at(LOG_WARN, "cannot connect to nats", LOG_S("error", natsStatus_GetText(s)));
	conn->nc = NULL;
	nconn_free(conn);
	return NULL;
}

static void *dial_main(void *arg)
{
	struct dial *d = arg;
	struct nconn *conn = NULL;
	int tries = 0;

	while (dial_sleep(d->core, d->delay_ms) && !(conn = dial_once(d, tries++ % 60 == 0))) {
		d->delay_ms = d->delay_ms < DIAL_MIN_MS ? DIAL_MIN_MS : d->delay_ms * 2;
		if (d->delay_ms > DIAL_MAX_MS)
			d->delay_ms = DIAL_MAX_MS;
		/* Half of it is jitter: not all processes of a cluster at once. */
		d->delay_ms = d->delay_ms / 2 + (int64_t)rng_below(&d->rng, (uint64_t)d->delay_ms);
	}
	pthread_mutex_lock(&d->core->mu);
	if (conn && !d->core->closed) {
		d->core->fresh = conn;
		conn = NULL;
		wake(d->core);
	}
	pthread_mutex_unlock(&d->core->mu);
	nconn_free(conn);
	nats_ReleaseThreadMemory();
	core_release(d->core);
	free(d->url);
	free(d->name);
	free(d);
	return NULL;
}

static int dial_start(struct nbus *bus, int64_t delay_ms, struct error *err)
{
	struct dial *d = xcalloc(1, sizeof(*d));
	int rc;

	d->core = bus->core;
	d->url = xstrdup(bus->url);
	d->name = xstrdup(bus->name);
	d->no_echo = bus->no_echo;
	d->delay_ms = delay_ms;
	rng_seed(&d->rng, rng_next(&bus->rng));
	core_retain(bus->core);
	rc = pthread_create(&bus->dialler, NULL, dial_main, d);
	if (rc != 0) {
		core_release(bus->core);
		free(d->url);
		free(d->name);
		free(d);
		return err_set(err, ERR_TRANSIENT, "pthread_create: %s", strerror(rc));
	}
	bus->dialling = true;
	return 0;
}

static void dial_join(struct nbus *bus)
{
	if (!bus->dialling)
		return;
	pthread_join(bus->dialler, NULL);
	bus->dialling = false;
}

/* The connection is of no use any more; everything that follows from that happens in a turn of its
 * own, because this may be inside a caller's bus_flush(). */
static void conn_lost(struct nbus *bus)
{
	if (bus->conn && !timer_armed(&bus->lost_timer))
		timer_set(bus->loop, &bus->lost_timer, 0);
}

static void conn_write(struct nbus *bus)
{
	struct nconn *conn = bus->conn;

	bus->deferred = 0;
	if (!conn || conn->dead || !conn->want_write)
		return;
	natsConnection_ProcessWriteEvent(conn->nc);
	if (conn->dead) {
		conn_lost(bus);
		return;
	}
	if (conn->want_write == conn->blocked)
		return;
	/* Still wanted: the socket is full, epoll says when to go on. */
	conn->blocked = conn->want_write;
	if (conn->io_added && loop_io_mod(bus->loop, &conn->io,
					  conn->blocked ? EPOLLIN | EPOLLOUT : EPOLLIN, NULL) != 0)
		conn_lost(bus);
}

/* Reads; what it brings is delivered later. */
static void conn_read(struct nbus *bus)
{
	natsConnection_ProcessReadEvent(bus->conn->nc);
	bus->heard = true;
	for (size_t i = 0; i < bus->n_direct; i++)
		gather_from(bus, bus->direct[i]);
	if (bus->conn->dead)
		conn_lost(bus);
}

static void on_conn_io(struct loop_io *io, uint32_t events, void *arg)
{
	struct nbus *bus = arg;

	(void)io;
	if (bus->conn->dead)
		return;
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		conn_read(bus);
	if ((events & EPOLLOUT) && !bus->conn->dead)
		conn_write(bus);
	deliver_got(bus);
}

static void on_turn_end(struct loop_hook *hook, void *arg)
{
	struct nbus *bus = arg;

	(void)hook;
	consumers_turn_end(bus);
	if (!bus->conn || !bus->conn->want_write || bus->conn->blocked)
		return;
	if (bus->deferred && natsConnection_Buffered(bus->conn->nc) == bus->deferred)
		return;
	timer_cancel(bus->loop, &bus->write_timer);
	conn_write(bus);
}

/* The turn that it makes happen ends with a write. */
static void on_write_timer(struct timer *timer, void *arg)
{
	struct nbus *bus = arg;

	(void)timer;
	bus->deferred = 0;
}

static void set_connected(struct nbus *bus, bool connected)
{
	struct core *core = bus->core;

	bus->connected = connected;
	log_at(connected ? LOG_INFO : LOG_WARN,
	       connected ? "nats connected" : "nats connection lost");
	core_retain(core);
	if (connected) {
		consumers_connected(bus);
		watches_connected(bus);
	} else {
		consumers_lost(bus);
		watches_lost(bus);
		pend_fail_all(bus, BUS_UNAVAILABLE);
	}
	if (bus->on_state)
		bus->on_state(bus->on_state_arg, connected);
	core_release(core);
}

static void take_fresh(struct nbus *bus, struct nconn *conn)
{
	dial_join(bus);
	conn->bus = bus;
	conn->loop = bus->loop;
	conn->core = bus->core;
	bus->conn = conn;
	conn->io.fd = conn->fd;
	conn->io.events = EPOLLIN;
	conn->io.fn = on_conn_io;
	conn->io.arg = bus;
	if (loop_io_add(bus->loop, &conn->io, NULL) != 0) {
		conn->dead = true;
		conn_lost(bus);
		return;
	}
	conn->io_added = true;
	for (uint32_t i = 0; i < bus->subs_cap; i++)
		if (bus->subs[i].sub)
			nsub_attach(bus->subs[i].sub);
	bus->silent = 0;
	bus->heard = true;
	timer_set(bus->loop, &bus->alive_timer, ALIVE_US);
	metric_add(bus->m.connects, 1);
	set_connected(bus, true);
}

static void conn_drop(struct nbus *bus)
{
	struct nconn *conn = bus->conn;

	bus->deferred = 0;
	if (!conn)
		return;
	timer_cancel(bus->loop, &bus->lost_timer);
	timer_cancel(bus->loop, &bus->alive_timer);
	timer_cancel(bus->loop, &bus->write_timer);
	if (conn->io_added)
		loop_io_del(bus->loop, &conn->io);
	conn->bus = NULL;
	for (uint32_t i = 0; i < bus->subs_cap; i++)
		if (bus->subs[i].sub)
			nsub_detach(bus->subs[i].sub);
	/* With something left to be written natsConnection_Destroy() would wait half a second for a
	 * PONG that nobody reads. */
	if (conn->want_write && !conn->dead)
		natsConnection_ProcessWriteEvent(conn->nc);
	if (conn->want_write && !conn->dead) {
		shutdown(conn->fd, SHUT_RDWR);
		natsConnection_ProcessReadEvent(conn->nc);
	}
	nconn_free(conn);
	bus->conn = NULL;
}

static void on_lost(struct timer *timer, void *arg)
{
	struct nbus *bus = arg;

	(void)timer;
	conn_drop(bus);
	if (dial_start(bus, DIAL_MIN_MS + (int64_t)rng_below(&bus->rng, DIAL_MIN_MS), NULL) != 0)
		timer_set(bus->loop, &bus->lost_timer,
			  1000000); /* no thread now: again in a second */
	if (bus->connected)
		set_connected(bus, false);
}

static void send_echo(struct nbus *bus)
{
	char subject[80];

	snprintf(subject, sizeof(subject), "%s.a%u.e%llu", bus->inbox, LINE_COMMON,
		 (unsigned long long)++bus->echo_sent);
	natsConnection_Publish(bus->conn->nc, subject, "", 0);
}

/* A server that vanished without a word (power, network) is noticed by its silence: ask our own
 * inbox. */
static void on_alive(struct timer *timer, void *arg)
{
	struct nbus *bus = arg;

	bus->silent = bus->heard ? 0 : bus->silent + 1;
	bus->heard = false;
	timer_set(bus->loop, timer, ALIVE_US);
	if (bus->silent >= SILENT_MAX)
		shutdown(bus->conn->fd, SHUT_RDWR);
	else if (!bus->conn->dead)
		send_echo(bus);
}

static void on_wake(struct loop_io *io, uint32_t events, void *arg)
{
	struct nbus *bus = arg;
	struct core *core = bus->core;
	struct inbound *items;
	struct nconn *fresh;
	size_t n, cap;
	uint64_t ignored;
	ssize_t got = read(core->wake_fd, &ignored, sizeof(ignored));

	(void)io;
	(void)events;
	(void)got;
	pthread_mutex_lock(&core->mu);
	core->refs++;
	items = core->items;
	n = core->n;
	cap = core->cap;
	core->items = bus->spare;
	core->cap = bus->spare_cap;
	core->n = 0;
	fresh = core->fresh;
	core->fresh = NULL;
	pthread_mutex_unlock(&core->mu);
	bus->spare = NULL;
	bus->spare_cap = 0;
	if (fresh)
		take_fresh(bus, fresh);
	deliver_got(bus); /* what bus_flush() left */
	deliver_all(bus, core, items, n);
	if (core->bus && !bus->spare && cap <= 65536) {
		bus->spare = items;
		bus->spare_cap = cap;
	} else {
		free(items);
	}
	core_release(core);
}

/* --- operations ------------------------------------------------------------------------------ */

bool nbus_sendable(struct nbus *bus, size_t len)
{
	if (!bus->connected || bus->conn->dead)
		return false;
	/* A turn that sends a lot does not keep all of it until its end. */
	bus->gathered += len;
	if (bus->gathered > GATHER_MAX) {
		bus->gathered = 0;
		conn_write(bus);
		if (bus->conn->dead)
			return false;
	}
	if (bus->conn->blocked && natsConnection_Buffered(bus->conn->nc) > UNSENT_MAX) {
		metric_add(bus->m.refused, 1);
		return false;
	}
	return true;
}

bool nbus_send(struct nbus *bus, const char *subject, const void *data, size_t len)
{
	return nbus_sendable(bus, len) &&
	       natsConnection_Publish(bus->conn->nc, subject, data, (int)len) == NATS_OK;
}

static int nbus_publish(struct bus *base, const char *subject, const void *data, size_t len,
			int within_ms, struct error *err)
{
	struct nbus *bus = nbus_of(base);
	natsStatus s;
	bool waits;

	if (!subject_ok(subject, false))
		return err_set(err, ERR_REJECTED, "bad subject");
	if (len > UNSENT_MAX)
		return err_set(err, ERR_REJECTED, "message too large");
	if (!nbus_sendable(bus, len))
		return 0; /* at most once */
	waits = within_ms && natsConnection_Buffered(bus->conn->nc) == bus->deferred;
	s = natsConnection_Publish(bus->conn->nc, subject, data, (int)len);
	if (s == NATS_MAX_PAYLOAD)
		return err_set(err, ERR_REJECTED, "message too large");
	if (!waits)
		return 0;
	if (!bus->deferred)
		timer_set(bus->loop, &bus->write_timer, (int64_t)within_ms * 1000);
	bus->deferred = natsConnection_Buffered(bus->conn->nc);
	return 0;
}

static bool nbus_connected(const struct bus *bus)
{
	return ((const struct nbus *)(const void *)bus)->connected;
}

static void nbus_on_state(struct bus *base, void (*fn)(void *arg, bool connected), void *arg)
{
	struct nbus *bus = nbus_of(base);

	bus->on_state = fn;
	bus->on_state_arg = arg;
}

static const char *nbus_error_text(const struct bus *bus)
{
	return ((const struct nbus *)(const void *)bus)->error_text;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The echo through our own inbox comes back when the server has seen everything before it. */
static int nbus_flush(struct bus *base, int timeout_ms, struct error *err)
{
	struct nbus *bus = nbus_of(base);
	int64_t until = now_ms() + timeout_ms, left;

	if (!bus->connected || bus->conn->dead)
		return err_set(err, ERR_TRANSIENT, "not connected");
	send_echo(bus);
	while (bus->echo_seen < bus->echo_sent) {
		struct pollfd p = {bus->conn->fd, POLLIN, 0};

		conn_write(bus);
		if (bus->conn->dead)
			return err_set(err, ERR_TRANSIENT, "connection lost");
		left = until - now_ms();
		if (left <= 0)
			return err_set(err, ERR_TRANSIENT, "no answer in %d ms", timeout_ms);
		if (bus->conn->want_write)
			p.events |= POLLOUT;
		if (poll(&p, 1, (int)left) > 0 && (p.revents & ~POLLOUT))
			conn_read(bus);
		if (bus->n_got > 0) /* the loop delivers it, not we */
			wake(bus->core);
		if (bus->conn->dead)
			return err_set(err, ERR_TRANSIENT, "connection lost");
	}
	return 0;
}

static void nbus_free(struct bus *base)
{
	struct nbus *bus = nbus_of(base);
	struct core *core = bus->core;

	if (bus->connected && !bus->conn->dead)
		conn_write(bus);
	pthread_mutex_lock(&core->mu);
	core->closed = true;
	pthread_cond_broadcast(&core->cond);
	pthread_mutex_unlock(&core->mu);
	dial_join(bus);
	consumers_free(bus);
	watches_free(bus);
	bus->connected = false;
	conn_drop(bus);
	nconn_free(core->fresh);
	core->fresh = NULL;
	timer_cancel(bus->loop, &bus->lost_timer);
	timer_cancel(bus->loop, &bus->write_timer);
	loop_hook_del(bus->loop, &bus->hook);
	loop_io_del(bus->loop, &bus->wake);
	pend_done(bus);
	for (uint32_t i = 0; i < bus->subs_cap; i++)
		if (bus->subs[i].sub)
			nsub_close(bus->subs[i].sub);
	taps_wait(core);
	for (size_t i = 0; i < bus->n_got; i++)
		natsMsg_Destroy(bus->got[i].msg);
	free(bus->got);
	free(bus->subs);
	free(bus->spare);
	for (unsigned i = 0; i < bus->n_lines; i++)
		free(bus->lines[i].name);
	free(bus->inbox);
	free(bus->url);
	free(bus->name);
	core->bus = NULL;
	core_release(core);
	free(bus);
}

static void metrics_init(struct nbus *bus, struct metrics *m)
{
	static struct metric nowhere[4];

	bus->m.connects = &nowhere[0];
	bus->m.pending = &nowhere[1];
	bus->m.refused = &nowhere[2];
	bus->m.dropped = &nowhere[3];
	if (!m)
		return;
	bus->m.connects = metrics_counter(m, "penstock_bus_connects_total", NULL,
					  "Connections made to the broker.");
	bus->m.pending = metrics_gauge(m, "penstock_bus_requests_pending", NULL,
				       "Requests and stores without an answer yet.");
	bus->m.refused =
	    metrics_counter(m, "penstock_bus_refused_total", NULL,
			    "Messages not sent because too much was pending or unsent.");
	bus->m.dropped =
	    metrics_counter(m, "penstock_bus_dropped_total", NULL,
			    "Messages received faster than they were handled, and dropped.");
}

static bool inbox_init(struct nbus *bus)
{
	natsInbox *inbox = NULL;

	if (natsInbox_Create(&inbox) != NATS_OK)
		return false;
	bus->inbox = xstrdup(inbox);
	natsInbox_Destroy(inbox);
	bus->inbox_len = strlen(bus->inbox);
	return true;
}

struct bus *bus_nats_open(struct loop *loop, const struct bus_nats_conf *conf, struct error *err)
{
	struct nbus *bus;
	struct strbuf all = {0};

	if (!url_ok(conf->url)) {
		err_set(err, ERR_REJECTED, "bad NATS URL");
		return NULL;
	}
	bus = xcalloc(1, sizeof(*bus));
	bus->base.ops = &nbus_ops;
	bus->loop = loop;
	bus->core = core_new(err);
	if (!bus->core) {
		free(bus);
		return NULL;
	}
	bus->core->bus = bus;
	bus->url = xstrdup(conf->url);
	bus->name = xstrdup(conf->name ? conf->name : "penstock");
	bus->no_echo = conf->no_echo;
	bus->subs_free = NIL;
	rng_seed_os(&bus->rng);
	metrics_init(bus, conf->metrics);
	timer_init(&bus->write_timer, on_write_timer, bus);
	timer_init(&bus->lost_timer, on_lost, bus);
	timer_init(&bus->alive_timer, on_alive, bus);
	pend_init(bus);
	bus->wake = (struct loop_io){bus->core->wake_fd, EPOLLIN, on_wake, bus};
	bus->hook.fn = on_turn_end;
	bus->hook.arg = bus;
	loop_hook_add(loop, &bus->hook);
	if (loop_io_add(loop, &bus->wake, err) != 0)
		goto fail;
	if (!inbox_init(bus)) {
		err_set(err, ERR_TRANSIENT, "nats: no inbox");
		goto fail;
	}
	strbuf_addf(&all, "%s.*", bus->inbox);
	bus->inbox_sub = nsub_open(bus, all.data, NULL, false, raw_inbox, NULL);
	strbuf_done(&all);
	bus->acks_sub = line_open(bus, LINE_COMMON);
	if (dial_start(bus, 0, err) != 0)
		goto fail;
	return (struct bus *)(void *)bus;
fail:
	nbus_free((struct bus *)(void *)bus);
	return NULL;
}

void bus_nats_shutdown(void)
{
	nats_ReleaseThreadMemory();
	nats_CloseAndWait(5000);
}

const struct bus_ops nbus_ops = {
    .free = nbus_free,
    .connected = nbus_connected,
    .on_state = nbus_on_state,
    .flush = nbus_flush,
    .forget = nbus_forget,
    .error_text = nbus_error_text,
    .publish = nbus_publish,
    .request = nbus_request,
    .subscribe = nbus_subscribe,
    .unsubscribe = nbus_unsubscribe,
    .drain = nbus_drain,
    .stream_ensure = nbus_stream_ensure,
    .store = nbus_store,
    .get = nbus_get,
    .get_last = nbus_get_last,
    .get_next = nbus_get_next,
    .stream_info = nbus_stream_info,
    .stream_trim = nbus_stream_trim,
    .consumer_open = nbus_consumer_open,
    .consumer_want = nbus_consumer_want,
    .consumer_close = nbus_consumer_close,
    .consumer_remove = nbus_consumer_remove,
    .claim_ack = nbus_claim_ack,
    .claim_nak = nbus_claim_nak,
    .claim_progress = nbus_claim_progress,
    .claim_free = nbus_claim_free,
    .bucket_ensure = nbus_bucket_ensure,
    .put = nbus_put,
    .del = nbus_del,
    .watch = nbus_watch,
    .watch_free = nbus_watch_free,
};
