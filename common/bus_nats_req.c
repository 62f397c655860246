/* Requests: a table of what is pending, found again by the last token of the reply subject. */
#include <stdlib.h>
#include <string.h>

#include "common/bus_nats_int.h"

#define FAILED   WHEEL_SLOTS       /* to be ended in the next turn */
#define ENDING   (WHEEL_SLOTS + 1) /* being ended in this one */
#define DATA_MAX (64 << 20)

static void list_push(struct nbus *bus, uint32_t i, uint32_t *head)
{
	struct pending *p = &bus->pend[i];

	p->prev = NIL;
	p->next = *head;
	if (p->next != NIL)
		bus->pend[p->next].prev = i;
	*head = i;
}

static void list_add(struct nbus *bus, uint32_t i, uint32_t list)
{
	bus->pend[i].list = list;
	list_push(bus, i, &bus->lists[list]);
}

static void list_del(struct nbus *bus, uint32_t i)
{
	struct pending *p = &bus->pend[i];

	if (p->prev != NIL)
		bus->pend[p->prev].next = p->next;
	else
		bus->lists[p->list] = p->next;
	if (p->next != NIL)
		bus->pend[p->next].prev = p->prev;
}

static uint32_t pend_take(struct nbus *bus)
{
	uint32_t i;

	if (bus->pend_free == NIL) {
		uint32_t old = bus->pend_cap;

		bus->pend_cap = old ? old * 2 : 256;
		bus->pend = xrealloc(bus->pend, bus->pend_cap * sizeof(*bus->pend));
		for (i = bus->pend_cap; i-- > old;) {
			bus->pend[i] = (struct pending){.gen = 0, .next = bus->pend_free};
			bus->pend_free = i;
		}
	}
	i = bus->pend_free;
	bus->pend_free = bus->pend[i].next;
	bus->pend[i].used = true;
	bus->pend[i].gen++;
	metric_set(bus->m.pending, ++bus->pend_used);
	return i;
}

/* Takes it out of the table; the copy is what is called. */
static struct pending pend_release(struct nbus *bus, uint32_t i)
{
	struct pending p = bus->pend[i];

	list_del(bus, i);
	bus->pend[i].used = false;
	bus->pend[i].next = bus->pend_free;
	bus->pend_free = i;
	metric_set(bus->m.pending, --bus->pend_used);
	return p;
}

static void pend_end(struct nbus *bus, uint32_t i, enum bus_result result, natsMsg *msg)
{
	struct pending p = pend_release(bus, i);

	p.reply(bus, p.arg, p.fn, result, msg);
}

static void pend_set_failed(struct nbus *bus, uint32_t i, enum bus_result result)
{
	bus->pend[i].result = result;
	list_add(bus, i, FAILED);
	if (!timer_armed(&bus->failed_timer))
		timer_set(bus->loop, &bus->failed_timer, 0);
}

static void on_failed(struct timer *timer, void *arg)
{
	struct nbus *bus = arg;
	struct core *core = bus->core;

	(void)timer;
	core_retain(core);
	/* Newest first in the list, so turn it round: they end in the order in which they were
	 * made. What a callback adds waits for the next turn, or a caller that repeats at once
	 * would spin here. */
	uint32_t order = NIL;
	while (bus->lists[FAILED] != NIL) {
		uint32_t i = bus->lists[FAILED];

		list_del(bus, i);
		list_push(bus, i, &order);
	}
	bus->lists[ENDING] = order;
	for (uint32_t i = order; i != NIL; i = bus->pend[i].next)
		bus->pend[i].list = ENDING;
	while (core->bus && bus->lists[ENDING] != NIL) {
		uint32_t i = bus->lists[ENDING];

		pend_end(bus, i, bus->pend[i].result, NULL);
	}
	if (core->bus && bus->lists[FAILED] != NIL)
		timer_set(bus->loop, &bus->failed_timer, 0);
	core_release(core);
}

static void on_wheel(struct timer *timer, void *arg)
{
	struct nbus *bus = arg;
	int64_t now = loop_now_us(bus->loop);

	for (; bus->tick <= now / WHEEL_TICK_US; bus->tick++) {
		uint32_t i = bus->lists[bus->tick % WHEEL_SLOTS];

		while (i != NIL) {
			uint32_t next = bus->pend[i].next;

			if (bus->pend[i].deadline_us <= now) {
				list_del(bus, i);
				pend_set_failed(bus, i, BUS_TIMEOUT);
			}
			i = next;
		}
		/* After a long stop of the process one round sees every list. */
		if (now / WHEEL_TICK_US - bus->tick > WHEEL_SLOTS)
			bus->tick = now / WHEEL_TICK_US - WHEEL_SLOTS;
	}
	if (bus->pend_used > 0)
		timer_set(bus->loop, timer, WHEEL_TICK_US);
}

void pend_init(struct nbus *bus)
{
	bus->pend_free = NIL;
	for (int i = 0; i <= ENDING; i++)
		bus->lists[i] = NIL;
	timer_init(&bus->wheel_timer, on_wheel, bus);
	timer_init(&bus->failed_timer, on_failed, bus);
}

void pend_done(struct nbus *bus)
{
	timer_cancel(bus->loop, &bus->wheel_timer);
	timer_cancel(bus->loop, &bus->failed_timer);
	for (uint32_t i = 0; i < bus->pend_cap; i++)
		if (bus->pend[i].used && bus->pend[i].drop)
			bus->pend[i].drop(bus->pend[i].arg);
	free(bus->pend);
	bus->pend = NULL;
	bus->pend_cap = 0;
}

void pend_fail_all(struct nbus *bus, enum bus_result result)
{
	for (uint32_t i = 0; i < bus->pend_cap; i++) {
		if (!bus->pend[i].used || bus->pend[i].list >= FAILED)
			continue;
		list_del(bus, i);
		pend_set_failed(bus, i, result);
	}
}

void pend_fail_line(struct nbus *bus, unsigned line)
{
	for (uint32_t i = 0; i < bus->pend_cap; i++) {
		if (!bus->pend[i].used || bus->pend[i].line != line || bus->pend[i].list >= FAILED)
			continue;
		list_del(bus, i);
		pend_set_failed(bus, i, BUS_UNAVAILABLE);
	}
}

void nbus_forget(struct bus *base, const void *owner)
{
	struct nbus *bus = nbus_of(base);

	for (uint32_t i = 0; owner && i < bus->pend_cap; i++) {
		if (!bus->pend[i].used || bus->pend[i].owner != owner)
			continue;
		struct pending p = pend_release(bus, i);

		if (p.drop)
			p.drop(p.arg);
	}
}

void pend_answer(struct nbus *bus, const char *token, natsMsg *msg)
{
	char *end;
	unsigned long long v;
	uint32_t i;

	if (*token != 'r' || strlen(token) != 17)
		return;
	v = strtoull(token + 1, &end, 16);
	i = (uint32_t)(v >> 32);
	if (*end || i >= bus->pend_cap || !bus->pend[i].used || bus->pend[i].gen != (uint32_t)v ||
	    bus->pend[i].list >= FAILED)
		return; /* late: already ended otherwise */
	if (natsMsg_IsNoResponders(msg))
		pend_end(bus, i, BUS_UNAVAILABLE, NULL);
	else
		pend_end(bus, i, BUS_OK, msg);
}

static natsStatus transmit(struct nbus *bus, const struct call *c, const char *reply)
{
	natsConnection *nc = bus->conn->nc;
	natsMsg *msg = NULL;
	char number[24];
	natsStatus s;

	if (!c->msg_id && c->expect_last_seq < 0 && !c->del)
		return natsConnection_PublishRequest(nc, c->subject, reply, c->len ? c->data : "",
						     (int)c->len);
	s = natsMsg_Create(&msg, c->subject, reply, c->len ? c->data : "", (int)c->len);
	if (s == NATS_OK && c->msg_id)
		s = natsMsgHeader_Set(msg, "Nats-Msg-Id", c->msg_id);
	if (s == NATS_OK && c->del)
		s = natsMsgHeader_Set(msg, "KV-Operation", "DEL");
	if (s == NATS_OK && c->expect_last_seq >= 0) {
		snprintf(number, sizeof(number), "%lld", (long long)c->expect_last_seq);
		s = natsMsgHeader_Set(msg, "Nats-Expected-Last-Subject-Sequence", number);
	}
	if (s == NATS_OK)
		s = natsConnection_PublishMsg(nc, msg);
	natsMsg_Destroy(msg);
	return s;
}

/* By a line, msg NULL: one of its requests had no responder. */
static void raw_line(struct nbus *bus, void *arg, natsMsg *msg)
{
	if (msg)
		pend_answer(bus, strrchr(natsMsg_GetSubject(msg), '.') + 1, msg);
	else
		pend_fail_line(bus, (unsigned)(uintptr_t)arg);
}

struct nsub *line_open(struct nbus *bus, unsigned line)
{
	char subject[96];

	snprintf(subject, sizeof(subject), "%s.a%u.*", bus->inbox, line);
	return nsub_open(bus, subject, NULL, true, raw_line, (void *)(uintptr_t)line);
}

static unsigned line_of(struct nbus *bus, const struct call *c)
{
	unsigned i = 0;

	if (!c->line)
		return 0;
	for (; i < bus->n_lines; i++)
		if (strlen(bus->lines[i].name) == c->line_len &&
		    memcmp(bus->lines[i].name, c->line, c->line_len) == 0)
			return LINE_FIRST + i;
	if (i == LINES_MAX)
		return LINE_COMMON;
	bus->lines[i].name = xstrndup(c->line, c->line_len);
	bus->lines[i].sub = line_open(bus, LINE_FIRST + i);
	bus->n_lines++;
	return LINE_FIRST + i;
}

static enum bus_result send_call(struct nbus *bus, const struct call *c, unsigned line, uint32_t i)
{
	char reply[96], by[16] = "";
	natsStatus s;

	if (!subject_ok(c->subject, false) || c->len > DATA_MAX) {
		snprintf(bus->error_text, sizeof(bus->error_text), "bad subject or size");
		return BUS_REJECTED;
	}
	if (bus->pend_used > PENDING_MAX) {
		metric_add(bus->m.refused, 1);
		return BUS_UNAVAILABLE;
	}
	if (!nbus_sendable(bus, c->len))
		return BUS_UNAVAILABLE;
	if (line)
		snprintf(by, sizeof(by), "a%u.", line);
	snprintf(reply, sizeof(reply), "%s.%sr%08x%08x", bus->inbox, by, i, bus->pend[i].gen);
	s = transmit(bus, c, reply);
	if (s == NATS_OK)
		return BUS_OK;
	if (s != NATS_MAX_PAYLOAD && s != NATS_INVALID_ARG && s != NATS_INVALID_SUBJECT)
		return BUS_UNAVAILABLE;
	snprintf(bus->error_text, sizeof(bus->error_text), "%s", natsStatus_GetText(s));
	return BUS_REJECTED;
}

void nbus_call(struct nbus *bus, const struct call *c)
{
	uint32_t i = pend_take(bus);
	struct pending *p = &bus->pend[i];
	int64_t now = loop_now_us(bus->loop);
	unsigned line = line_of(bus, c);
	enum bus_result result = send_call(bus, c, line, i);

	p->reply = c->reply;
	p->fn = c->fn;
	p->arg = c->arg;
	p->owner = c->owner;
	p->drop = c->drop;
	p->line = line;
	if (result != BUS_OK) {
		pend_set_failed(bus, i, result);
		return;
	}
	p->deadline_us = now + (int64_t)c->timeout_ms * 1000;
	if (!timer_armed(&bus->wheel_timer)) {
		bus->tick = now / WHEEL_TICK_US;
		timer_set(bus->loop, &bus->wheel_timer, WHEEL_TICK_US);
	}
	/* In the tick after the deadline's, so that it has passed when the tick is looked at. */
	list_add(bus, i, (uint32_t)((p->deadline_us / WHEEL_TICK_US + 1) % WHEEL_SLOTS));
}

void nbus_call_api(struct nbus *bus, const char *subject, const char *body, reply_fn *reply,
		   generic_fn *fn, void *arg, const void *owner, void (*drop)(void *arg))
{
	struct call c = {
	    .subject = subject,
	    .data = body,
	    .len = body ? strlen(body) : 0,
	    .expect_last_seq = -1,
	    .timeout_ms = API_TIMEOUT_MS,
	    .reply = reply,
	    .fn = fn,
	    .arg = arg,
	    .owner = owner,
	    .drop = drop,
	};

	nbus_call(bus, &c);
}

static void answer_reply(struct nbus *bus, void *arg, generic_fn *fn, enum bus_result result,
			 natsMsg *msg)
{
	struct bus_msg out;

	(void)bus;
	if (result == BUS_OK)
		msg_core(msg, &out);
	((bus_answer_fn *)fn)(arg, result, result == BUS_OK ? &out : NULL);
}

void nbus_request(struct bus *bus, const char *subject, const void *data, size_t len,
		  int timeout_ms, bus_answer_fn *fn, void *arg)
{
	struct call c = {
	    .subject = subject,
	    .data = data,
	    .len = len,
	    .expect_last_seq = -1,
	    .timeout_ms = timeout_ms,
	    .reply = answer_reply,
	    .fn = (generic_fn *)fn,
	    .arg = arg,
	    .owner = arg,
	};

	nbus_call(nbus_of(bus), &c);
}
