/* Pull consumers and their claims: $JS.API.CONSUMER.*.
 *
 * Credit is kept on the server as open pull requests. When credit is taken back (want lowered) an
 * open request cannot be recalled; what it still brings is given back with a nak, to be delivered
 * to somebody else. On close nobody listens for its answers any more: nats-server passes such
 * requests over, so what is given back from then on does not come to us again.
 *
 * A private consumer has lives: one ends with a connection, with a message beyond the credit, and
 * where nats-server's count of deliveries has a gap; the next one, under another name and with an
 * inbox of its own, begins behind the last message that was told. */
#include <stdlib.h>
#include <string.h>

#include "common/bus_nats_int.h"
#include "common/json.h"
#include "common/log.h"

#define PULL_EXPIRES_US      5000000
#define PULL_GRACE_US        1000000
#define RETRY_MIN_US         250000
#define RETRY_MAX_US         2000000
#define BATCH_MAX            4096
#define UNREAD_US            60000000
#define LATE_ACKS_MAX        65536
#define CONSUMER_EXISTS      10148
#define CONSUMER_NAME_EXISTS 10013

struct nconsumer {
	struct bus_base base;
	struct nbus *bus;
	struct nconsumer *next, **prev;
	int refs; /* the owner's, and one while the answer to CREATE is due */
	char *stream, *durable, *filter; /* durable: the name of this life, if it is private */
	int ack_wait_ms, max_ack_pending;
	bus_deliver_fn *fn;
	void *arg;
	struct nsub *inbox;
	bool private;
	bool torn;       /* private: this life is over, the next one begins with the next pull */
	uint64_t expect; /* private: what may be told next is not below it */
	uint64_t heard;  /* private: deliveries of this life */
	unsigned credit;
	unsigned open; /* messages that the server may still send for our requests */
	unsigned pulls;
	bool ready, creating, closed;
	bool dirty;
	struct nconsumer *next_dirty;
	struct timer timer;
	int64_t retry_us;
};

struct nclaim {
	struct bus_base base;
	struct core *core;
	struct nclaim *next; /* among the late acknowledgements */
	char reply[];
};

static void consumer_unref(struct nconsumer *c)
{
	if (--c->refs > 0)
		return;
	free(c->stream);
	free(c->durable);
	free(c->filter);
	free(c);
}

static void consumer_drop(void *arg)
{
	consumer_unref(arg);
}

static void consumer_unlink(struct nconsumer *c)
{
	struct nbus *bus = c->bus;

	if (!bus)
		return;
	timer_cancel(bus->loop, &c->timer);
	nsub_close(c->inbox);
	c->inbox = NULL;
	*c->prev = c->next;
	if (c->next)
		c->next->prev = c->prev;
	for (struct nconsumer **p = &bus->dirty; *p; p = &(*p)->next_dirty) {
		if (*p == c) {
			*p = c->next_dirty;
			break;
		}
	}
	c->bus = NULL;
	consumer_unref(c);
}

/* --- asking ---------------------------------------------------------------------------------- */

static void mark_dirty(struct nconsumer *c)
{
	struct nbus *bus = c->bus;

	if (c->dirty)
		return;
	c->dirty = true;
	c->next_dirty = bus->dirty;
	bus->dirty = c;
	if (!timer_armed(&bus->write_timer))
		timer_set(bus->loop, &bus->write_timer, 0);
}

static void create(struct nconsumer *c);
static void raw_pulled(struct nbus *bus, void *arg, natsMsg *msg);

static void pull(struct nconsumer *c)
{
	struct nbus *bus = c->bus;
	struct strbuf subject = {0};
	char body[64];
	unsigned need = c->credit > c->open ? c->credit - c->open : 0;

	if (c->torn && need)
		create(c);
	if (!c->ready || c->closed || need == 0 || !bus->connected)
		return;
	/* While the server still has something open, wait until a request is worth its cost. */
	if (c->open > 0 && need < (c->credit + 3) / 4)
		return;
	if (need > BATCH_MAX)
		need = BATCH_MAX;
	strbuf_addf(&subject, "$JS.API.CONSUMER.MSG.NEXT.%s.%s", c->stream, c->durable);
	snprintf(body, sizeof(body), "{\"batch\":%u,\"expires\":%lld}", need,
		 PULL_EXPIRES_US * 1000LL);
	if (bus->conn && !bus->conn->dead &&
	    natsConnection_PublishRequest(bus->conn->nc, subject.data, c->inbox->subject, body,
					  (int)strlen(body)) == NATS_OK) {
		c->open += need;
		c->pulls++;
	}
	timer_set(bus->loop, &c->timer, PULL_EXPIRES_US + PULL_GRACE_US);
	strbuf_done(&subject);
}

void consumers_turn_end(struct nbus *bus)
{
	while (bus->dirty) {
		struct nconsumer *c = bus->dirty;

		bus->dirty = c->next_dirty;
		c->dirty = false;
		pull(c);
	}
}

static void retry_later(struct nconsumer *c)
{
	timer_set(c->bus->loop, &c->timer, c->retry_us);
	c->retry_us = c->retry_us * 2 > RETRY_MAX_US ? RETRY_MAX_US : c->retry_us * 2;
}

static void remove_named(struct nbus *bus, const char *stream, const char *name, reply_fn *reply,
			 generic_fn *fn, void *arg)
{
	struct strbuf subject = {0};

	if (stream_name_ok(stream) && stream_name_ok(name))
		strbuf_addf(&subject, "$JS.API.CONSUMER.DELETE.%s.%s", stream, name);
	nbus_call_api(bus, strbuf_str(&subject), NULL, reply, fn, arg, arg, NULL);
	strbuf_done(&subject);
}

/* Whether it went does not matter: nats-server forgets a private consumer by itself, too. */
static void on_life_ended(struct nbus *bus, void *arg, generic_fn *fn, enum bus_result result,
			  natsMsg *msg)
{
	(void)bus, (void)arg, (void)fn, (void)result, (void)msg;
}

static void life_end(struct nconsumer *c)
{
	if (c->private && c->durable && c->bus->connected)
		remove_named(c->bus, c->stream, c->durable, on_life_ended, NULL, NULL);
}

static void life_begin(struct nconsumer *c)
{
	struct nbus *bus = c->bus;
	struct strbuf name = {0};

	life_end(c);
	free(c->durable);
	strbuf_addf(&name, "%s_%llu", bus->inbox, (unsigned long long)++bus->names);
	for (char *p = name.data; (p = strchr(p, '.'));)
		*p = '_';
	c->durable = strbuf_detach(&name, NULL);
	c->heard = 0;
	c->torn = false;
}

static void inbox_open(struct nconsumer *c)
{
	struct strbuf inbox = {0};

	nsub_close(c->inbox);
	strbuf_addf(&inbox, "%s.c.%llu", c->bus->inbox, (unsigned long long)++c->bus->names);
	c->inbox = nsub_open(c->bus, inbox.data, NULL, true, raw_pulled, c);
	strbuf_done(&inbox);
}

static void on_create(struct nbus *bus, void *arg, generic_fn *fn, enum bus_result result,
		      natsMsg *msg)
{
	struct nconsumer *c = arg;
	int code = 0;

	(void)fn;
	c->creating = false;
	if (!c->bus) {
		consumer_unref(c);
		return;
	}
	if (result == BUS_OK)
		result = api_result(bus, msg, NULL, &code);
	if (code == CONSUMER_EXISTS || code == CONSUMER_NAME_EXISTS) {
		log_at(LOG_WARN, "consumer keeps what it was made with",
		       LOG_S("consumer", c->durable), LOG_S("error", bus->error_text));
		result = BUS_OK;
	}
	if (result == BUS_OK) {
		c->ready = true;
		c->retry_us = RETRY_MIN_US;
		c->open = c->pulls = 0;
		pull(c);
	} else {
		if (result == BUS_REJECTED)
			log_at(LOG_WARN, "cannot make a consumer", LOG_S("consumer", c->durable),
			       LOG_S("error", bus->error_text));
		retry_later(c);
	}
	consumer_unref(c);
}

static void create(struct nconsumer *c)
{
	struct nbus *bus = c->bus;
	struct strbuf subject = {0};
	json_t *config, *root;
	char *body;

	if (c->creating || c->closed || !bus->connected)
		return;
	if (c->private) {
		life_begin(c);
		inbox_open(c);
		config = json_pack("{s:s, s:s, s:s, s:I, s:s, s:I, s:b, s:i}", "name", c->durable,
				   "ack_policy", "none", "deliver_policy", "by_start_sequence",
				   "opt_start_seq", (json_int_t)c->expect, "replay_policy",
				   "instant", "inactive_threshold", UNREAD_US * (json_int_t)1000,
				   "mem_storage", 1, "num_replicas", 1);
	} else {
		config =
		    json_pack("{s:s, s:s, s:s, s:s, s:I}", "durable_name", c->durable, "ack_policy",
			      "explicit", "deliver_policy", "all", "replay_policy", "instant",
			      "ack_wait", (json_int_t)c->ack_wait_ms * 1000000);
	}
	if (c->max_ack_pending > 0)
		json_object_set_new(config, "max_ack_pending", json_integer(c->max_ack_pending));
	if (c->filter)
		json_object_set_new(config, "filter_subject", json_string(c->filter));
	root = json_pack("{s:s, s:o}", "stream_name", c->stream, "config", config);
	body = json_dumps(root, JSON_COMPACT);
	strbuf_addf(&subject, "$JS.API.CONSUMER.%sCREATE.%s.%s", c->private ? "" : "DURABLE.",
		    c->stream, c->durable);
	c->creating = true;
	c->ready = false;
	c->refs++;
	nbus_call_api(bus, subject.data, body, on_create, NULL, c, NULL, consumer_drop);
	strbuf_done(&subject);
	json_decref(root);
	free(body);
}

static void on_timer(struct timer *timer, void *arg)
{
	struct nconsumer *c = arg;

	(void)timer;
	if (c->closed) {
		consumer_unlink(c);
		return;
	}
	/* A pull request that got no answer at all, not even that its time is over: the consumer
	 * may be gone, which nats-server does not say. Making one that is there changes nothing. */
	c->open = c->pulls = 0;
	create(c);
}

/* --- getting --------------------------------------------------------------------------------- */

/* gone: there is no such consumer. */
static void on_refused(struct nconsumer *c, bool gone)
{
	if (c->closed)
		return;
	c->open = c->pulls = 0;
	if (gone)
		c->ready = false;
	retry_later(c);
}

static void on_status(struct nconsumer *c, natsMsg *msg)
{
	const char *text = "";
	uint64_t unsent;
	int status = msg_status(msg);

	natsMsgHeader_Get(msg, "Description", &text);
	if (status == 404 || status == 408) { /* this request is over */
		c->pulls -= c->pulls > 0;
		if (!header_u64(msg, "Nats-Pending-Messages", &unsent) || c->pulls == 0)
			unsent = c->open;
		c->open -= unsent < c->open ? (unsigned)unsent : c->open;
		if (c->closed && c->open == 0)
			consumer_unlink(c);
		else
			mark_dirty(c);
		return;
	}
	if (status != 100 && status != 0)
		on_refused(c, status == 503 || !strcmp(text, "Consumer Deleted"));
}

static void send_nak(struct nbus *bus, const char *reply, int delay_ms)
{
	char body[64];

	if (delay_ms > 0)
		snprintf(body, sizeof(body), "-NAK {\"delay\": %lld}", delay_ms * 1000000LL);
	else
		snprintf(body, sizeof(body), "-NAK");
	nbus_send(bus, reply, body, strlen(body));
}

static void msg_pulled(natsMsg *msg, const struct ack_info *info, struct bus_msg *out)
{
	*out = (struct bus_msg){
	    .subject = natsMsg_GetSubject(msg),
	    .data = natsMsg_GetData(msg),
	    .len = (size_t)natsMsg_GetDataLength(msg),
	    .stream = info->stream,
	    .seq = info->seq,
	    .time_us = info->time_us,
	    .delivered = (unsigned)info->delivered,
	};
}

/* A message of a private consumer, with all before it in this life told; else the life is over. */
static void raw_private(struct nconsumer *c, natsMsg *msg, const struct ack_info *info)
{
	struct bus_msg out;

	if (!c->credit || info->consumer_seq != c->heard + 1) {
		c->torn = true;
		c->open = c->pulls = 0;
		mark_dirty(c);
		return;
	}
	c->heard++;
	if (c->open == 0) {
		c->pulls = 0;
		mark_dirty(c);
	}
	if (info->seq < c->expect) /* the stream ended before where it was to begin */
		return;
	c->credit--;
	c->expect = info->seq + 1;
	msg_pulled(msg, info, &out);
	c->fn(c->arg, &out, NULL);
}

static void raw_pulled(struct nbus *bus, void *arg, natsMsg *msg)
{
	struct nconsumer *c = arg;
	const char *reply;
	struct ack_info info;
	struct nclaim *claim;
	struct bus_msg out;

	if (c->torn)
		return;
	if (!msg) {
		on_refused(c, true);
		return;
	}
	reply = natsMsg_GetReply(msg);
	if (!ack_parse(reply, &info)) {
		on_status(c, msg);
		return;
	}
	c->open -= c->open > 0;
	c->retry_us = RETRY_MIN_US;
	if (c->private) {
		raw_private(c, msg, &info);
		return;
	}
	if (c->closed || c->credit == 0) {
		send_nak(bus, reply,
			 100); /* a delay, or the open request would get it again at once */
		return;
	}
	c->credit--;
	if (c->open == 0) {
		c->pulls = 0;
		mark_dirty(c);
	}
	claim = xmalloc(sizeof(*claim) + strlen(reply) + 1);
	claim->base.ops = &nbus_ops;
	claim->core = bus->core;
	core_retain(bus->core);
	memcpy(claim->reply, reply, strlen(reply) + 1);
	msg_pulled(msg, &info, &out);
	c->fn(c->arg, &out, (struct bus_claim *)(void *)claim);
}

struct bus_consumer *nbus_consumer_open(struct bus *base, const struct bus_consumer_conf *conf,
					bus_deliver_fn *fn, void *arg, struct error *err)
{
	struct nbus *bus = nbus_of(base);
	struct nconsumer *c;

	if (!stream_name_ok(conf->stream) || (conf->durable && !stream_name_ok(conf->durable)) ||
	    (conf->filter && !subject_ok(conf->filter, true))) {
		err_set(err, ERR_REJECTED, "bad consumer");
		return NULL;
	}
	c = xcalloc(1, sizeof(*c));
	c->base.ops = &nbus_ops;
	c->bus = bus;
	c->refs = 1;
	c->stream = xstrdup(conf->stream);
	c->durable = conf->durable ? xstrdup(conf->durable) : NULL;
	c->private = !conf->durable;
	c->expect = conf->from ? conf->from : 1;
	c->filter = conf->filter ? xstrdup(conf->filter) : NULL;
	c->ack_wait_ms = conf->ack_wait_ms > 0 ? conf->ack_wait_ms : 30000;
	c->max_ack_pending = conf->max_ack_pending;
	c->fn = fn;
	c->arg = arg;
	c->retry_us = RETRY_MIN_US;
	timer_init(&c->timer, on_timer, c);
	c->next = bus->consumers;
	c->prev = &bus->consumers;
	if (c->next)
		c->next->prev = &c->next;
	bus->consumers = c;
	if (!c->private)
		inbox_open(c);
	create(c);
	return (struct bus_consumer *)(void *)c;
}

void nbus_consumer_want(struct bus_consumer *consumer, unsigned credit)
{
	struct nconsumer *c = (struct nconsumer *)(void *)consumer;

	c->credit = credit;
	if (credit > c->open)
		mark_dirty(c);
}

void nbus_consumer_close(struct bus_consumer *consumer)
{
	struct nconsumer *c = (struct nconsumer *)(void *)consumer;

	c->closed = true;
	c->credit = 0;
	life_end(c);
	if (c->private || c->open == 0 || !c->bus->connected) {
		consumer_unlink(c);
		return;
	}
	/* Stay to give back what is on its way. */
	nsub_drain(c->inbox);
	timer_set(c->bus->loop, &c->timer, PULL_GRACE_US);
}

void nbus_consumer_remove(struct bus *base, const char *stream, const char *durable,
			  bus_done_fn *fn, void *arg)
{
	remove_named(nbus_of(base), stream, durable, nbus_done_reply, (generic_fn *)fn, arg);
}

void consumers_connected(struct nbus *bus)
{
	struct nconsumer *next;

	while (bus->late_acks) {
		struct nclaim *claim = bus->late_acks;

		bus->late_acks = claim->next;
		nbus_send(bus, claim->reply, "+ACK", 4);
		core_release(claim->core);
		free(claim);
	}
	bus->n_late_acks = 0;
	for (struct nconsumer *c = bus->consumers; c; c = next) {
		next = c->next;
		create(c);
	}
}

void consumers_lost(struct nbus *bus)
{
	struct nconsumer *next;

	for (struct nconsumer *c = bus->consumers; c; c = next) {
		next = c->next;
		c->ready = false;
		c->open = c->pulls = 0;
		timer_cancel(bus->loop, &c->timer);
		if (c->closed)
			consumer_unlink(c);
	}
}

void consumers_free(struct nbus *bus)
{
	while (bus->consumers)
		consumer_unlink(bus->consumers);
	while (bus->late_acks) {
		struct nclaim *claim = bus->late_acks;

		bus->late_acks = claim->next;
		core_release(claim->core);
		free(claim);
	}
}

/* --- claims ---------------------------------------------------------------------------------- */

static struct nclaim *claim_of(struct bus_claim *claim)
{
	return (struct nclaim *)(void *)claim;
}

void nbus_claim_free(struct bus_claim *claim)
{
	core_release(claim_of(claim)->core);
	free(claim);
}

void nbus_claim_ack(struct bus_claim *claim)
{
	struct nclaim *c = claim_of(claim);
	struct nbus *bus = c->core->bus;

	/* Work that is done shall not be done again because the connection was away just then. */
	if (bus && !nbus_send(bus, c->reply, "+ACK", 4) && bus->n_late_acks < LATE_ACKS_MAX) {
		c->next = bus->late_acks;
		bus->late_acks = c;
		bus->n_late_acks++;
		return;
	}
	nbus_claim_free(claim);
}

void nbus_claim_nak(struct bus_claim *claim, int delay_ms)
{
	struct nclaim *c = claim_of(claim);

	if (c->core->bus)
		send_nak(c->core->bus, c->reply, delay_ms);
	nbus_claim_free(claim);
}

void nbus_claim_progress(struct bus_claim *claim)
{
	struct nclaim *c = claim_of(claim);

	if (c->core->bus)
		nbus_send(c->core->bus, c->reply, "+WPI", 4);
}
