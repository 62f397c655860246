/* Streams of the fake: storing, reading, trimming, as nats-server 2.9 does it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bus_fake_int.h"

#define SUBJECTS_MAX 100000
#define RECORD_EXTRA 30 /* what a message costs on disk beside subject and data */

struct fstream *fake_stream_find(const struct fake_broker *b, const char *name)
{
	struct fstream *s = b->streams;

	while (s && strcmp(s->name, name) != 0)
		s = s->next;
	return s;
}

static struct fstream *stream_of(const struct fake_broker *b, const char *subject)
{
	struct fstream *s = b->streams;

	while (s && !fake_matches(s->subject, subject))
		s = s->next;
	return s;
}

struct stored *fake_stream_at(const struct fstream *s, uint64_t seq)
{
	return seq >= s->base && seq - s->base < s->n ? s->list[s->off + (seq - s->base)] : NULL;
}

static int64_t size_of(const struct stored *m)
{
	return (int64_t)(strlen(m->of->subject) + m->msg->len + RECORD_EXTRA);
}

void fake_stream_remove(struct fstream *s, uint64_t seq)
{
	struct stored *m = fake_stream_at(s, seq);

	if (!m)
		return;
	*(m->prev ? &m->prev->next : &m->of->first) = m->next;
	*(m->next ? &m->next->prev : &m->of->last) = m->prev;
	m->of->count--;
	s->msgs--;
	s->bytes -= (uint64_t)size_of(m);
	s->list[s->off + (seq - s->base)] = NULL;
	fmsg_unref(m->msg);
	free(m);
	while (s->n > 0 && !s->list[s->off]) {
		s->off++;
		s->base++;
		s->n--;
	}
}

void fake_stream_age(struct fstream *s)
{
	int64_t now = loop_wall_us(s->broker->loop);

	while (s->max_age_us > 0 && s->n > 0 &&
	       s->list[s->off]->msg->time_us + s->max_age_us <= now)
		fake_stream_remove(s, s->base);
}

static uint64_t first_seq(const struct fstream *s)
{
	return s->n > 0 ? s->base : s->last_seq ? s->last_seq + 1 : 0;
}

struct stored *fake_stream_next(const struct fstream *s, const char *filter, uint64_t seq)
{
	const struct fsubject *of;
	struct stored *m;

	if (filter && !fake_is_filter(filter)) {
		of = fmap_get(&s->subjects, filter);
		/* Readers go from one to the next: the one before is often still there. */
		m = seq > 0 ? fake_stream_at(s, seq - 1) : NULL;
		m = m && m->of == of ? m->next : of ? of->first : NULL;
		while (m && m->msg->seq < seq)
			m = m->next;
		return m;
	}
	for (uint64_t i = seq < s->base ? s->base : seq; i < s->base + s->n; i++) {
		m = fake_stream_at(s, i);
		if (m && (!filter || fake_matches(filter, m->of->subject)))
			return m;
	}
	return NULL;
}

/* --- making ------------------------------------------------------------------------------------
 */

static void set_bounds(struct fstream *s, const struct bus_stream_conf *conf)
{
	s->max_bytes = conf->max_bytes;
	s->max_age_us = conf->max_age_ms * 1000;
	s->max_per_subject = conf->max_per_subject;
	s->dedupe_us = conf->dedupe_ms ? conf->dedupe_ms * 1000 : 120000000;
	s->discard_new = conf->discard_new;
}

struct fstream *fake_stream_make(struct fake_broker *b, const struct bus_stream_conf *conf)
{
	struct fstream *s = fake_stream_find(b, conf->name);

	if (s) {
		set_bounds(s, conf);
		return s;
	}
	s = xcalloc(1, sizeof(*s));
	s->broker = b;
	s->name = xstrdup(conf->name);
	s->subject = xstrdup(conf->subject);
	s->republish = conf->republish ? xstrdup(conf->republish) : NULL;
	s->work_queue = conf->work_queue;
	s->base = 1;
	s->created_us = loop_wall_us(b->loop);
	s->newest = &s->oldest;
	s->durables_tail = &s->durables;
	set_bounds(s, conf);
	*b->streams_tail = s;
	b->streams_tail = &s->next;
	return s;
}

void fake_streams_free(struct fake_broker *b)
{
	while (b->streams) {
		struct fstream *s = b->streams;

		b->streams = s->next;
		fake_durables_free(s);
		while (s->n > 0)
			fake_stream_remove(s, s->base);
		for (size_t i = 0; i < s->subjects.cap; i++) {
			struct fsubject *of = s->subjects.slots[i].value;

			if (of)
				free(of->subject);
			free(of);
		}
		while (s->oldest) {
			struct dedupe *d = s->oldest;

			s->oldest = d->next;
			free(d);
		}
		fmap_done(&s->subjects);
		fmap_done(&s->ids);
		free(s->list);
		free(s->name);
		free(s->subject);
		free(s->republish);
		free(s);
	}
}

static void at_done(struct hop *hop)
{
	fake_answer(hop->node, hop->id, hop->result, NULL);
}

static void reject(struct node *node, const char *why, uint64_t id)
{
	snprintf(node->error_text, sizeof(node->error_text), "%s", why);
	pend_fail(node, id, BUS_REJECTED);
}

static bool name_ok(const char *name)
{
	return name && *name && strlen(name) < 64 && !strpbrk(name, " .*>/\\\t\r\n");
}

void fake_stream_ensure(struct bus *bus, const struct bus_stream_conf *conf, bus_done_fn *fn,
			void *arg)
{
	struct node *node = node_of(bus);
	uint64_t id = pend_add(node, PEND_DONE, (void (*)(void))fn, arg, API_TIMEOUT_MS);
	struct hop *hop;

	if (!name_ok(conf->name) || !fake_subject_ok(conf->subject, true)) {
		reject(node, "bad stream name or subject", id);
		return;
	}
	if (!node_reachable(node))
		return;
	/* The broker has it at once: nothing depends on when, and the texts need not be kept. */
	fake_watches_made(fake_stream_make(node->broker, conf));
	hop = hop_new(node, at_done);
	hop->id = id;
	hop->result = BUS_OK;
	hop_out(hop);
}

/* --- storing -----------------------------------------------------------------------------------
 */

static const struct dedupe *seen(struct fstream *s, const char *id)
{
	int64_t now = loop_wall_us(s->broker->loop);

	while (s->oldest && s->oldest->at_us + s->dedupe_us <= now) {
		struct dedupe *d = s->oldest;

		fmap_del(&s->ids, d->id);
		s->oldest = d->next;
		if (!s->oldest)
			s->newest = &s->oldest;
		free(d);
	}
	return id ? fmap_get(&s->ids, id) : NULL;
}

static void remember(struct fstream *s, const char *id, uint64_t seq)
{
	struct dedupe *d = xmalloc(sizeof(*d) + strlen(id) + 1);

	*d = (struct dedupe){NULL, seq, loop_wall_us(s->broker->loop)};
	memcpy(d->id, id, strlen(id) + 1);
	*s->newest = d;
	s->newest = &d->next;
	fmap_add(&s->ids, d->id, d);
}

static struct fsubject *subject_of(struct fstream *s, const char *subject)
{
	struct fsubject *of = fmap_get(&s->subjects, subject);

	if (!of) {
		of = xcalloc(1, sizeof(*of));
		of->subject = xstrdup(subject);
		fmap_add(&s->subjects, of->subject, of);
	}
	return of;
}

static void append(struct fstream *s, struct stored *m)
{
	if (s->n == 0) {
		s->off = 0;
		s->base = m->msg->seq;
	}
	if (s->off + s->n == s->cap) {
		if (s->off > s->cap / 2) {
			memmove(s->list, s->list + s->off, s->n * sizeof(struct stored *));
			s->off = 0;
		} else {
			s->cap = s->cap ? s->cap * 2 : 32;
			s->list = xrealloc(s->list, s->cap * sizeof(struct stored *));
		}
	}
	s->list[s->off + s->n++] = m;
	m->prev = m->of->last;
	*(m->prev ? &m->prev->next : &m->of->first) = m;
	m->of->last = m;
	m->of->count++;
	s->msgs++;
	s->bytes += (uint64_t)size_of(m);
}

/* "pen.evt.>" → "pen.live.>": what > stands for goes over. */
static void republish(struct fstream *s, const struct stored *m)
{
	struct strbuf subject = {0};
	struct fmsg *copy;

	strbuf_add(&subject, s->republish, strlen(s->republish) - 1);
	strbuf_adds(&subject, m->msg->subject + strlen(s->subject) - 1);
	copy = fmsg_new(subject.data, m->msg->data, m->msg->len);
	copy->stream = s->name;
	copy->seq = m->msg->seq;
	copy->prev = m->msg->prev;
	fake_route(s->broker, NULL, copy, NULL);
	fmsg_unref(copy);
	strbuf_done(&subject);
}

static void store(struct fstream *s, struct fmsg *msg, const char *msg_id, int64_t expect,
		  struct bus_ack *ack)
{
	struct fsubject *of = subject_of(s, msg->subject);
	const struct dedupe *before = seen(s, msg_id);
	uint64_t last;
	struct stored *m;
	int64_t size;

	fake_stream_age(s);
	if (before) {
		*ack = (struct bus_ack){BUS_OK, before->seq, true};
		return;
	}
	last = of->last ? of->last->msg->seq : 0;
	if (expect >= 0 && last != (uint64_t)expect) {
		ack->result = BUS_CONFLICT;
		return;
	}
	size = (int64_t)(strlen(msg->subject) + msg->len + RECORD_EXTRA);
	if (s->discard_new && s->max_bytes > 0 && (int64_t)s->bytes + size > s->max_bytes) {
		ack->result = BUS_FULL;
		return;
	}
	m = xcalloc(1, sizeof(*m));
	m->msg = fmsg_ref(msg);
	m->of = of;
	msg->seq = ++s->last_seq;
	msg->prev = last;
	msg->stream = s->name;
	msg->time_us = loop_wall_us(s->broker->loop);
	append(s, m);
	while (s->max_per_subject > 0 && (int64_t)of->count > s->max_per_subject)
		fake_stream_remove(s, of->first->msg->seq);
	while (s->max_bytes > 0 && (int64_t)s->bytes > s->max_bytes && s->n > 1)
		fake_stream_remove(s, s->base);
	if (msg_id)
		remember(s, msg_id, msg->seq);
	*ack = (struct bus_ack){BUS_OK, msg->seq, false};
	if (s->republish)
		republish(s, m);
	fake_watches_stored(s, m);
	fake_durables_stored(s, m); /* last: with a work queue it may be gone afterwards */
}

void fake_stream_take(struct fake_broker *b, struct fmsg *msg)
{
	struct fstream *s = stream_of(b, msg->subject);
	struct bus_ack ack;
	struct fmsg *copy;

	if (!s)
		return;
	copy = fmsg_new(msg->subject, msg->data, msg->len);
	store(s, copy, NULL, -1, &ack);
	fmsg_unref(copy);
}

static void at_ack(struct hop *hop)
{
	struct fpend p;

	if (!pend_take(hop->node, hop->id, &p))
		return;
	if (hop->ack.result == BUS_CONFLICT)
		snprintf(hop->node->error_text, sizeof(hop->node->error_text),
			 "wrong last sequence");
	if (p.fn.ack)
		p.fn.ack(p.arg, &hop->ack);
}

static void at_store(struct hop *hop)
{
	struct fake_broker *b = hop->node->broker;
	struct fstream *s = stream_of(b, hop->msg->subject);
	struct bus_ack ack = {.result = BUS_UNAVAILABLE};
	struct hop *back;

	if (fake_chance(b, b->faults.lose_store))
		return;
	/* Everybody else on that subject hears it too: it is a message like any other. */
	if (b->wild.head || fmap_get(&b->routes, hop->msg->subject)) {
		struct fmsg *copy = fmsg_new(hop->msg->subject, hop->msg->data, hop->msg->len);

		fake_route(b, NULL, copy, NULL);
		fmsg_unref(copy);
	}
	if (s)
		store(s, hop->msg, hop->reply, hop->number, &ack);
	if (fake_chance(b, b->faults.lose_ack))
		return;
	back = hop_new(hop->node, at_ack);
	back->id = hop->id;
	back->ack = ack;
	hop_in(back, hop->msg->subject);
}

void fake_store_to(struct node *node, struct fmsg *msg, const char *msg_id, int64_t expect,
		   int timeout_ms, bus_ack_fn *fn, void *arg)
{
	struct hop *hop = hop_new(node, at_store);

	hop->id = pend_add(node, PEND_ACK, (void (*)(void))fn, arg, timeout_ms);
	hop->msg = msg;
	hop->reply = msg_id ? xstrdup(msg_id) : NULL;
	hop->number = expect;
	hop_out(hop);
}

void fake_store(struct bus *bus, const char *subject, const struct bus_store_opts *opts,
		const void *data, size_t len, bus_ack_fn *fn, void *arg)
{
	struct node *node = node_of(bus);

	if (!fake_subject_ok(subject, false) || (opts->msg_id && strpbrk(opts->msg_id, "\r\n"))) {
		reject(node, "bad subject or message id",
		       pend_add(node, PEND_ACK, (void (*)(void))fn, arg, 0));
		return;
	}
	fake_store_to(node, fmsg_new(subject, data, len), opts->msg_id, opts->expect_last_seq,
		      opts->timeout_ms > 0 ? opts->timeout_ms : API_TIMEOUT_MS, fn, arg);
}

/* --- reading -----------------------------------------------------------------------------------
 */

enum get_kind { GET_SEQ, GET_LAST, GET_NEXT };

static const struct stored *last_of(const struct fstream *s, const char *subject)
{
	const struct fsubject *of;

	if (!fake_is_filter(subject)) {
		of = fmap_get(&s->subjects, subject);
		return of ? of->last : NULL;
	}
	for (uint64_t i = s->base + s->n; i-- > s->base;) {
		const struct stored *m = fake_stream_at(s, i);

		if (m && fake_matches(subject, m->of->subject))
			return m;
	}
	return NULL;
}

/* msg: subject = "<stream>", data = the wanted subject */
static void at_get(struct hop *hop)
{
	struct fstream *s = fake_stream_find(hop->node->broker, hop->reply);
	const struct stored *m = NULL;

	if (s) {
		fake_stream_age(s);
		m = hop->result == (enum bus_result)GET_SEQ
			? fake_stream_at(s, (uint64_t)hop->number)
		    : hop->result == (enum bus_result)GET_LAST
			? last_of(s, hop->msg->data)
			: fake_stream_next(s, hop->msg->data, (uint64_t)hop->number);
	}
	if (!m) {
		fake_answer(hop->node, hop->id, BUS_NOT_FOUND, NULL);
		return;
	}
	/* What is read does not say what came before it. */
	struct fmsg *copy = fmsg_new(m->msg->subject, m->msg->data, m->msg->len);
	copy->stream = m->msg->stream;
	copy->seq = m->msg->seq;
	copy->time_us = m->msg->time_us;
	fake_answer(hop->node, hop->id, BUS_OK, copy);
	fmsg_unref(copy);
}

static void get(struct bus *bus, enum get_kind kind, const char *stream, const char *subject,
		uint64_t seq, bus_answer_fn *fn, void *arg)
{
	struct node *node = node_of(bus);
	uint64_t id = pend_add(node, PEND_ANSWER, (void (*)(void))fn, arg, API_TIMEOUT_MS);
	struct hop *hop;

	if (!name_ok(stream)) {
		reject(node, "bad stream name", id);
		return;
	}
	hop = hop_new(node, at_get);
	hop->id = id;
	hop->result = (enum bus_result)kind;
	hop->reply = xstrdup(stream);
	hop->msg = fmsg_new("", subject, strlen(subject));
	hop->number = (int64_t)seq;
	hop_out(hop);
}

void fake_get(struct bus *bus, const char *stream, uint64_t seq, bus_answer_fn *fn, void *arg)
{
	get(bus, GET_SEQ, stream, "", seq, fn, arg);
}

void fake_get_last(struct bus *bus, const char *stream, const char *subject, bus_answer_fn *fn,
		   void *arg)
{
	get(bus, GET_LAST, stream, subject, 0, fn, arg);
}

void fake_get_next(struct bus *bus, const char *stream, const char *subject, uint64_t seq,
		   bus_answer_fn *fn, void *arg)
{
	get(bus, GET_NEXT, stream, subject, seq ? seq : 1, fn, arg);
}

/* --- info and trimming -------------------------------------------------------------------------
 */

struct snapshot {
	struct bus_stream_info info;
	struct bus_subject_count *subjects;
};

static void drop_snapshot(struct hop *hop)
{
	struct snapshot *snap = hop->ptr;

	if (!snap)
		return;
	for (size_t i = 0; i < snap->info.n_subjects; i++)
		free((char *)snap->subjects[i].subject);
	free(snap->subjects);
	free(snap);
}

static struct snapshot *look(const struct fstream *s, const char *filter)
{
	struct snapshot *snap = xcalloc(1, sizeof(*snap));
	size_t cap = 0;

	snap->info = (struct bus_stream_info){.first_seq = first_seq(s),
					      .last_seq = s->last_seq,
					      .msgs = s->msgs,
					      .bytes = s->bytes,
					      .created_us = s->created_us};
	for (size_t i = 0; *filter && i < s->subjects.cap; i++) {
		const struct fsubject *of = s->subjects.slots[i].value;
		size_t n = snap->info.n_subjects;

		if (!of || of->count == 0 || n == SUBJECTS_MAX ||
		    !fake_matches(filter, of->subject))
			continue;
		if (n == cap) {
			cap = cap ? cap * 2 : 16;
			snap->subjects = xrealloc(snap->subjects, cap * sizeof(*snap->subjects));
		}
		snap->subjects[n].subject = xstrdup(of->subject);
		snap->subjects[n].msgs = of->count;
		snap->info.n_subjects++;
	}
	snap->info.subjects = snap->subjects;
	return snap;
}

static void at_info_answer(struct hop *hop)
{
	const struct snapshot *snap = hop->ptr;
	struct fpend p;

	if (pend_take(hop->node, hop->id, &p))
		p.fn.info(p.arg, snap ? BUS_OK : BUS_NOT_FOUND, snap ? &snap->info : NULL);
}

static void at_info(struct hop *hop)
{
	struct fake_broker *b = hop->node->broker;
	struct fstream *s = fake_stream_find(b, hop->reply);
	struct hop *back;

	if (s)
		fake_stream_age(s);
	if (fake_chance(b, b->faults.lose_core))
		return;
	back = hop_new(hop->node, at_info_answer);
	back->id = hop->id;
	back->ptr = s ? look(s, hop->msg->data) : NULL;
	back->drop = drop_snapshot;
	hop_in(back, hop->reply);
}

void fake_stream_info(struct bus *bus, const char *stream, const char *filter, bus_info_fn *fn,
		      void *arg)
{
	struct node *node = node_of(bus);
	uint64_t id = pend_add(node, PEND_INFO, (void (*)(void))fn, arg, API_TIMEOUT_MS);
	struct hop *hop;

	if (!name_ok(stream)) {
		reject(node, "bad stream name", id);
		return;
	}
	hop = hop_new(node, at_info);
	hop->id = id;
	hop->reply = xstrdup(stream);
	hop->msg = fmsg_new("", filter, filter ? strlen(filter) : 0);
	hop_out(hop);
}

static void at_trim(struct hop *hop)
{
	struct fstream *s = fake_stream_find(hop->node->broker, hop->reply);

	while (s && s->n > 0 && s->base < (uint64_t)hop->number)
		fake_stream_remove(s, s->base);
	fake_answer(hop->node, hop->id, s ? BUS_OK : BUS_NOT_FOUND, NULL);
}

void fake_stream_trim(struct bus *bus, const char *stream, uint64_t seq, bus_done_fn *fn, void *arg)
{
	struct node *node = node_of(bus);
	uint64_t id = pend_add(node, PEND_DONE, (void (*)(void))fn, arg, API_TIMEOUT_MS);
	struct hop *hop;

	if (!name_ok(stream)) {
		reject(node, "bad stream name", id);
		return;
	}
	hop = hop_new(node, at_trim);
	hop->id = id;
	hop->reply = xstrdup(stream);
	hop->number = (int64_t)seq;
	hop_out(hop);
}
