/* A socket that is fast, slow and stands still in turn, and its subscriptions: whatever the order
 * of live frames, pages and reads, each durable event arrives once and in order, and what waits
 * stays bounded. The model does with the cores (struct outq, struct history) what conn.c and link.c
 * do. */
#include "common/rng.h"
#include "common/strbuf.h"
#include "services/edge/history.h"
#include "services/edge/outq.h"
#include "tests/unit/common/suite.h"

enum { CHANNELS = 3, EVENTS = 120, FRAME = 40, SOFT = 400, HARD = 1600, HELD = 200, PAGE = 100 };

struct sub {
	uint64_t log[EVENTS + 1]; /* offsets; 0: before the first */
	unsigned published, got;
	uint64_t sent; /* of the topic: how far it was fanned out */
	bool spilled;
	struct history *h; /* NULL: live */
	uint64_t until;
	uint32_t reserved;
};

struct model {
	struct rng rng;
	struct out_pool pool;
	struct outq out;
	struct sub subs[CHANNELS];
	uint32_t held, reserved;
	unsigned spills, lost, gaps;
};

/* Frames say in prev whose they are, in header what: an event, or a gap before what is replayed. */
static struct out_ref *make(unsigned channel, enum frame_kind kind, uint64_t offset, size_t len)
{
	char payload[FRAME * 4] = {0};
	struct frame *f = frame_new(kind, WS_TEXT, payload, len - 2);

	f->offset = offset;
	f->prev = channel;
	return out_ref_new(&(struct out_pool){0}, f);
}

static bool deliver(struct model *m, struct out_ref *ref, bool replay)
{
	struct outq_bounds b = {replay ? HARD - m->held : SOFT, HARD - m->held};

	return outq_push(&m->out, &b, ref) == OUTQ_QUEUED;
}

static void push_event(struct model *m, unsigned c, uint64_t offset, bool *fits, bool replay)
{
	struct out_ref *ref = make(c, FRAME_DURABLE, offset, FRAME);

	*fits = deliver(m, ref, replay);
	out_ref_drop(&m->pool, ref);
}

static void end_history(struct model *m, struct sub *s)
{
	struct history_item item;

	while (history_pop(s->h, &item))
		m->held -= (uint32_t)item.bytes;
	history_done(s->h);
	free(s->h);
	s->h = NULL;
}

static void read_on(struct model *m, struct sub *s)
{
	bool room = m->out.data_bytes + m->reserved + PAGE <= SOFT / 2;

	if (!room) {
		history_failed(s->h);
		history_pause(s->h, true);
		return;
	}
	if (s->spilled) {
		struct out_ref *gap = make((unsigned)(s - m->subs), FRAME_CONTROL, s->h->pos, 20);

		ck_assert(deliver(m, gap, false));
		out_ref_drop(&m->pool, gap);
		m->gaps++;
	}
	s->spilled = false;
	s->reserved = PAGE;
	m->reserved += PAGE;
}

static void pump(struct model *m, struct sub *s)
{
	unsigned c = (unsigned)(s - m->subs);

	for (;;) {
		struct history_item item;
		uint64_t before = s->h->pos;
		bool fits = true;

		switch (history_next(s->h, &item)) {
		case HISTORY_DELIVER:
			if (item.offset)
				push_event(m, c, item.offset, &fits, false);
			if (!fits) {
				history_back(s->h, before);
				history_pause(s->h, true);
			}
			m->held -= (uint32_t)item.bytes;
			break;
		case HISTORY_SKIP:
			m->held -= (uint32_t)item.bytes;
			break;
		case HISTORY_FETCH:
			read_on(m, s);
			return;
		case HISTORY_WAIT:
			return;
		case HISTORY_LIVE:
			end_history(m, s);
			return;
		}
	}
}

static void hold(struct model *m, struct sub *s, uint64_t offset, uint64_t prev)
{
	struct history_item item = {.offset = offset, .prev = prev, .bytes = FRAME}, out;

	if (m->held + FRAME > HELD) {
		history_forget(s->h, offset);
		return;
	}
	m->held += FRAME;
	for (bool more = history_hold(s->h, &item, &out); more;
	     more = history_hold(s->h, NULL, &out))
		m->held -= (uint32_t)out.bytes;
}

static void live(struct model *m, struct sub *s)
{
	unsigned i = s->published;
	bool fits, ephemeral = rng_below(&m->rng, 4) == 0;
	uint64_t offset;

	if (ephemeral && s->h) {
		hold(m, s, 0, 0);
		return;
	}
	if (ephemeral || i == EVENTS)
		return;
	s->published = ++i;
	offset = s->log[i];
	if (s->h) {
		hold(m, s, offset, s->log[i - 1]);
	} else {
		push_event(m, (unsigned)(s - m->subs), offset, &fits, false);
		if (!fits) {
			s->h = xmalloc(sizeof(*s->h));
			history_init(s->h, s->sent, offset, 16, HELD);
			history_pause(s->h, true);
			s->spilled = true;
			m->spills++;
		}
	}
	s->sent = offset;
}

static void page(struct model *m, struct sub *s)
{
	uint32_t bytes = 0;
	bool more = false, fits = true;

	if (!s->reserved)
		return;
	m->reserved -= s->reserved;
	s->reserved = 0;
	if (rng_below(&m->rng, 5) == 0) {
		history_failed(s->h);
		return; /* the timer pumps it */
	}
	for (unsigned i = 1; i <= s->published && fits && !more; i++) {
		uint64_t before = s->h->pos;

		if (s->log[i] <= s->h->pos || s->log[i] > s->h->until)
			continue;
		more = bytes && bytes + FRAME > PAGE;
		if (more)
			break;
		bytes += FRAME;
		ck_assert(history_page(s->h, s->log[i]));
		push_event(m, (unsigned)(s - m->subs), s->log[i], &fits, true);
		if (!fits)
			history_back(s->h, before);
	}
	if (fits)
		history_fetched(s->h, more);
	else
		history_failed(s->h);
	pump(m, s);
}

/* The client's view. */
static void arrives(struct model *m, const struct frame *f)
{
	struct sub *s = &m->subs[f->prev];

	if (f->kind == FRAME_CONTROL) {
		ck_assert_uint_eq(f->offset, s->log[s->got]); /* exactly behind what it has */
		return;
	}
	ck_assert_uint_lt(s->got, EVENTS);
	ck_assert_uint_eq(f->offset, s->log[s->got + 1]);
	s->got++;
}

static void reads(struct model *m, size_t n)
{
	while (n && m->out.n) {
		struct frame *f = m->out.ring[m->out.head]->frame;
		size_t k = f->len - m->out.written;

		if (k <= n)
			arrives(m, f);
		k = k < n ? k : n;
		outq_written(&m->out, &m->pool, k);
		n -= k;
	}
}

static void tick(struct model *m)
{
	for (unsigned c = 0; c < CHANNELS; c++) {
		struct sub *s = &m->subs[c];

		if (!s->h)
			continue;
		if (s->h->paused && m->out.data_bytes + m->reserved + PAGE <= SOFT / 2)
			history_pause(s->h, false);
		pump(m, s);
	}
}

static bool done(const struct model *m)
{
	for (unsigned c = 0; c < CHANNELS; c++)
		if (m->subs[c].got < EVENTS || m->subs[c].h)
			return false;
	return true;
}

static void one_run(uint64_t seed, unsigned *spills, unsigned *gaps)
{
	struct model m = {0};
	unsigned mood = 0;

	rng_seed(&m.rng, seed);
	for (unsigned c = 0; c < CHANNELS; c++)
		for (unsigned i = 1; i <= EVENTS; i++)
			m.subs[c].log[i] = m.subs[c].log[i - 1] + 1 + rng_below(&m.rng, 3);
	for (unsigned step = 0; !done(&m); step++) {
		struct sub *s = &m.subs[rng_below(&m.rng, CHANNELS)];

		ck_assert_uint_lt(step, 100000);
		if (step % 64 == 0)
			mood = (unsigned)rng_below(&m.rng, 4); /* stands still … fast */
		switch (rng_below(&m.rng, 4)) {
		case 0:
			live(&m, s);
			break;
		case 1:
			page(&m, s);
			break;
		case 2:
			reads(&m, mood * (1 + rng_below(&m.rng, 60)));
			break;
		default:
			tick(&m);
		}
		ck_assert_uint_le(m.out.data_bytes + m.out.control_bytes + m.held, HARD);
		ck_assert_uint_le(m.out.data_bytes, SOFT + PAGE);
		ck_assert_uint_le(m.held, HELD);
	}
	ck_assert_uint_eq(m.held + m.reserved + m.out.n, 0);
	*spills += m.spills;
	*gaps += m.gaps;
	outq_done(&m.out, &m.pool);
	out_pool_done(&m.pool);
}

START_TEST(random_runs)
{
	unsigned spills = 0, gaps = 0;

	for (uint64_t seed = 1; seed <= RUNS_OF(1000); seed++)
		one_run(seed, &spills, &gaps);
	/* The runs were about something, and each spill was told once. */
	ck_assert_uint_gt(spills, RUNS_OF(1000));
	ck_assert_uint_eq(spills, gaps);
}
END_TEST

START_TEST(nothing_is_held_or_asked_for_while_paused)
{
	struct history h;
	struct history_item it = {.offset = 6, .prev = 5, .bytes = 10}, out;

	history_init(&h, 4, 5, 10, 1000);
	history_pause(&h, true);
	ck_assert_int_eq(history_next(&h, &out), HISTORY_WAIT);
	ck_assert(history_hold(&h, &it, &out));
	ck_assert_uint_eq(out.offset, 6);
	ck_assert(!history_hold(&h, NULL, &out));
	history_pause(&h, false);
	ck_assert_int_eq(history_next(&h, &out), HISTORY_FETCH);
	ck_assert_uint_eq(h.until, 6);
	ck_assert(history_page(&h, 5));
	ck_assert(history_page(&h, 6));
	history_back(&h, 5); /* the second one had no room */
	history_failed(&h);
	ck_assert_int_eq(history_next(&h, &out), HISTORY_FETCH);
	ck_assert_uint_eq(h.pos, 5);
	ck_assert_uint_eq(h.until, 6);
	ck_assert(history_page(&h, 6));
	history_fetched(&h, false);
	ck_assert_int_eq(history_next(&h, &out), HISTORY_LIVE);
	history_done(&h);
}
END_TEST

START_TEST(a_held_item_without_room_is_not_lost)
{
	struct history h;
	struct history_item it = {.offset = 6, .prev = 5, .bytes = 10}, out;

	history_init(&h, 4, 5, 10, 1000);
	ck_assert_int_eq(history_next(&h, &out), HISTORY_FETCH);
	ck_assert(!history_hold(&h, &it, &out));
	ck_assert(history_page(&h, 5));
	history_fetched(&h, false);
	ck_assert_int_eq(history_next(&h, &out), HISTORY_DELIVER);
	history_back(&h, 5);
	history_pause(&h, true);
	ck_assert_int_eq(history_next(&h, &out), HISTORY_WAIT);
	history_pause(&h, false);
	ck_assert_int_eq(history_next(&h, &out), HISTORY_FETCH);
	ck_assert_uint_eq(h.until, 6);
	ck_assert(history_page(&h, 6));
	history_fetched(&h, false);
	ck_assert_int_eq(history_next(&h, &out), HISTORY_LIVE);
	history_done(&h);
}
END_TEST

RUN_TESTS("edge: spill", a_held_item_without_room_is_not_lost,
	  nothing_is_held_or_asked_for_while_paused, random_runs)
