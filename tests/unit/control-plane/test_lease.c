/* The grantor alone, and grantor and workers together in simulated time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/rng.h"
#include "common/strbuf.h"
#include "services/control-plane/aimd.h"
#include "services/control-plane/lease.h"
#include "services/control-plane/trail.h"
#include "tests/unit/common/suite.h"
/* The other side. A program here is linked with its own service alone; both sides belong together.
 */
#include "services/orchestrator-worker/lease.c" /* NOLINT(bugprone-suspicious-include) */

#define MS     ((int64_t)1000)
#define SECOND ((int64_t)1000000)
#define START  (1000 * SECOND)

/* --- shares ---------------------------------------------------------------------------------- */

START_TEST(shares_are_max_min_fair)
{
	static const struct {
		int64_t want[4], had[4], capacity, share[4];
	} rows[] = {
	    {{5, 5, 5, 5}, {0}, 100, {5, 5, 5, 5}},
	    {{9, 9, 9, 9}, {0}, 20, {5, 5, 5, 5}},
	    {{2, 9, 9, 9}, {0}, 20, {2, 6, 6, 6}},
	    {{2, 4, 100, 0}, {0}, 20, {2, 4, 14, 0}},
	    {{9, 9, 9, 9}, {0}, 6, {2, 2, 1, 1}},
	    {{9, 9, 0, 0}, {5, 0, 0, 0}, 3, {0, 3, 0, 0}},
	    {{9, 9, 0, 0}, {5, 0, 0, 0}, 9, {2, 7, 0, 0}},
	    {{9, 9, 9, 9}, {0}, 0, {0, 0, 0, 0}},
	    {{9, 9, 9, 9}, {0}, -7, {0, 0, 0, 0}},
	};
	for (size_t r = 0; r < sizeof(rows) / sizeof(*rows); r++)
		for (size_t i = 0; i < 4; i++)
			ck_assert_int_eq(
			    lease_share(rows[r].want, rows[r].had, 4, i, rows[r].capacity),
			    rows[r].share[i]);
}
END_TEST

/* Whoever gets less than it wants has at least as much as everybody else, and nothing is left. */
START_TEST(shares_hold_for_any_numbers)
{
	struct rng rng;
	rng_seed(&rng, 7);
	for (int round = 0; round < 2000; round++) {
		int64_t want[9], had[9], got[9], sum = 0, asked = 0;
		size_t n = 1 + rng_below(&rng, 9);
		int64_t capacity = (int64_t)rng_below(&rng, 200);
		for (size_t i = 0; i < n; i++) {
			want[i] = (int64_t)rng_below(&rng, 60);
			had[i] = (int64_t)rng_below(&rng, 40);
			asked += want[i];
		}
		for (size_t i = 0; i < n; i++)
			sum += got[i] = lease_share(want, had, n, i, capacity);
		ck_assert_int_eq(sum, asked < capacity ? asked : capacity);
		for (size_t i = 0; i < n; i++)
			for (size_t j = 0; j < n && got[i] < want[i]; j++)
				ck_assert(got[j] == 0 || had[j] + got[j] <= had[i] + got[i] + 1);
	}
}
END_TEST

START_TEST(parts_of_the_safe_capacity_sum_up)
{
	for (size_t n = 1; n < 9; n++)
		for (int64_t safe = 0; safe < 30; safe++) {
			int64_t sum = 0;
			for (size_t i = 0; i < n; i++)
				sum += lease_safe_part(safe, n, i);
			ck_assert_int_eq(sum, safe);
		}
	ck_assert_int_eq(lease_safe(100, -1), 25);
	ck_assert_int_eq(lease_safe(2, -1), 1);
	ck_assert_int_eq(lease_safe(1, -1), 0);
	ck_assert_int_eq(lease_safe(1, 1), 1);
	ck_assert_int_eq(lease_safe(10, 40), 10);
	ck_assert_int_eq(lease_safe(0, 4), 0);
}
END_TEST

START_TEST(a_trail_forgets_after_its_minute)
{
	struct trail t;
	trail_init(&t, START);
	trail_add(&t, START, START, 5);
	ck_assert_int_eq(trail_sum(&t, START + 62 * SECOND), 5);
	ck_assert_int_eq(trail_sum(&t, START + 64 * SECOND), 0);
	trail_add(&t, START + 64 * SECOND, START + 64 * SECOND, 3);
	trail_add(&t, START, START + 64 * SECOND, -5); /* too long ago to matter */
	ck_assert_int_eq(trail_sum(&t, START + 64 * SECOND), 3);
	ck_assert_int_eq(trail_sum(&t, START + 9000 * SECOND), 0);
	for (int64_t limit = 0; limit < 400; limit += 7) {
		trail_assume(&t, START, limit);
		ck_assert_int_eq(trail_sum(&t, START), limit);
		int64_t half = trail_sum(&t, START + 31 * SECOND);
		ck_assert_int_ge(half, limit / 2 - 1);
		ck_assert_int_le(half, limit / 2 + 8);
		ck_assert_int_eq(trail_sum(&t, START + 64 * SECOND), 0);
	}
}
END_TEST

START_TEST(aimd_goes_down_fast_and_up_slowly)
{
	struct aimd a;
	struct aimd_seen seen = {0};
	Penstock__LeaseUse use = PENSTOCK__LEASE_USE__INIT;
	int64_t now = START;
	aimd_init(&a, 40, now);
	use.troubled = 5;
	use.good = 5;
	aimd_report(&a, &seen, &use, now += 100 * MS);
	ck_assert_int_eq(aimd_now(&a), 40); /* the round is not over */
	aimd_report(&a, &seen, &use, now += SECOND);
	ck_assert_int_eq(aimd_now(&a), 28);
	for (int i = 0; i < 20; i++) {
		use.troubled += 9;
		aimd_report(&a, &seen, &use, now += SECOND);
	}
	ck_assert_int_eq(aimd_now(&a), 4); /* a tenth: it must learn when all is well again */
	int rounds = 0;
	for (; aimd_now(&a) < 40; rounds++) {
		use.good += 3;
		aimd_report(&a, &seen, &use, now += SECOND);
	}
	ck_assert_int_ge(rounds, 15);
	ck_assert_int_le(rounds, 20);
	/* One in a hundred is no reason. */
	use.good += 99;
	use.troubled += 1;
	aimd_report(&a, &seen, &use, now += SECOND);
	ck_assert_int_eq(aimd_now(&a), 40);
	/* Answers that begin ever later are one. */
	use.first_token_ms = 100;
	aimd_report(&a, &seen, &use, now += SECOND);
	use.first_token_ms = 900;
	aimd_report(&a, &seen, &use, now + SECOND);
	ck_assert_int_eq(aimd_now(&a), 36);
	aimd_limit(&a, 8);
	ck_assert_int_eq(aimd_now(&a), 8);
}
END_TEST

/* --- a cluster ------------------------------------------------------------------------------- */

#define WORKERS 3
#define CALLS   400
#define MAIL    4000
#define STEP    (5 * MS)
#define NOTED   40000

struct call {
	bool runs;
	int64_t ends, prompt, completion;
	struct lease_permit permit;
};

struct worker {
	char id[16];
	bool up;
	uint64_t boot, seq;
	int64_t waiting, ends_us; /* ends_us: when it is up again, or no member any more */
	struct lease lease;
	struct lease_world world;
	struct call calls[CALLS];
	int64_t sent_us, done;
	bool asked;
	double offered; /* calls a second */
	double owed;
};

struct mail {
	int64_t due;
	int to; /* a worker, or -1 */
	uint64_t boot;
	uint8_t *data;
	size_t len;
};

static struct world {
	struct rng rng;
	int64_t now, boots;
	struct lease_limits limits;
	struct grantor *grantor;
	int64_t grantor_at, next_beat;
	struct worker workers[WORKERS];
	struct mail mail[MAIL];
	size_t n_mail;
	double loss, mess; /* of messages; and of kills a second */
	int64_t service_ms;
	/* What the target counts. */
	struct {
		int64_t at, calls, tokens;
	} noted[NOTED];
	size_t n_noted, oldest;
	int64_t calls, tokens, running; /* of the last minute; now */
	int64_t calls_peak, tokens_peak, running_peak;
} W;

static void note(int64_t calls, int64_t tokens)
{
	W.calls += calls;
	W.tokens += tokens;
	W.noted[W.n_noted % NOTED].at = W.now;
	W.noted[W.n_noted % NOTED].calls = calls;
	W.noted[W.n_noted++ % NOTED].tokens = tokens;
	ck_assert(W.n_noted - W.oldest < NOTED);
	for (; W.noted[W.oldest % NOTED].at <= W.now - 60 * SECOND; W.oldest++) {
		W.calls -= W.noted[W.oldest % NOTED].calls;
		W.tokens -= W.noted[W.oldest % NOTED].tokens;
	}
	W.calls_peak = W.calls > W.calls_peak ? W.calls : W.calls_peak;
	W.tokens_peak = W.tokens > W.tokens_peak ? W.tokens : W.tokens_peak;
}

static void post(int to, uint64_t boot, const ProtobufCMessage *m)
{
	if (rng_unit(&W.rng) < W.loss || W.n_mail == MAIL)
		return;
	struct mail *mail = &W.mail[W.n_mail++];
	mail->due = W.now + (int64_t)rng_below(&W.rng, (uint64_t)(W.loss > 0 ? 60 * MS : 2 * MS));
	mail->to = to;
	mail->boot = boot;
	mail->len = protobuf_c_message_get_packed_size(m);
	mail->data = xmalloc(mail->len + 1);
	protobuf_c_message_pack(m, mail->data);
}

static void start_worker(struct worker *w)
{
	w->up = true;
	w->boot = (uint64_t)++W.boots;
	w->seq = 0;
	w->asked = false;
	w->waiting = 0;
	w->world = (struct lease_world){.online = true, .heard_us = W.now};
	lease_init(&w->lease);
	lease_set(&w->lease, &W.limits, W.now);
}

static void kill_worker(struct worker *w)
{
	w->up = false;
	w->ends_us = W.now + (int64_t)rng_below(&W.rng, 20 * SECOND);
	for (int i = 0; i < CALLS; i++)
		if (w->calls[i].runs) { /* its sockets are closed; what was said is counted */
			w->calls[i].runs = false;
			note(0, w->calls[i].completion / 2);
			W.running--;
		}
}

/* Everybody knows at once who has come, and four seconds later who has gone. */
static void tell_members(void)
{
	const char *ids[WORKERS];
	size_t n = 0;
	for (int i = 0; i < WORKERS; i++)
		if (W.workers[i].up || W.workers[i].ends_us - W.now > 16 * SECOND)
			ids[n++] = W.workers[i].id;
	for (int i = 0; i < WORKERS; i++) {
		W.workers[i].world.workers = n;
		for (size_t k = 0; k < n; k++)
			if (strcmp(ids[k], W.workers[i].id) == 0)
				W.workers[i].world.rank = k;
	}
	if (W.grantor)
		grantor_workers(W.grantor, ids, n, n, W.now);
}

static void start_grantor(bool fresh)
{
	W.grantor = grantor_new("g", (uint64_t)++W.boots, W.now);
	grantor_target(W.grantor, "m", &W.limits, fresh, W.now);
	W.next_beat = W.now;
}

static void deliver_report(const struct mail *mail)
{
	Penstock__LeaseReport *r = penstock__lease_report__unpack(NULL, mail->len, mail->data);
	Penstock__LeaseAnswer answer;
	ck_assert_ptr_nonnull(r);
	grantor_report(W.grantor, r, W.now, &answer);
	post(r->worker[1] - '0', mail->boot, &answer.base);
	grantor_answer_done(&answer);
	penstock__lease_report__free_unpacked(r, NULL);
}

static void deliver_answer(struct worker *w, const struct mail *mail)
{
	Penstock__LeaseAnswer *a = penstock__lease_answer__unpack(NULL, mail->len, mail->data);
	if (!a->learning)
		w->world.heard_us = W.now;
	if (a->seq == w->seq && w->asked) {
		w->asked = false;
		for (size_t i = 0; i < a->n_grants; i++)
			lease_granted(&w->lease, a->grants[i], a->seq, w->sent_us, W.now);
	}
	penstock__lease_answer__free_unpacked(a, NULL);
}

static void deliver(void)
{
	for (size_t i = 0; i < W.n_mail;) {
		struct mail mail = W.mail[i];
		if (mail.due > W.now) {
			i++;
			continue;
		}
		W.mail[i] = W.mail[--W.n_mail];
		if (mail.to < 0 && W.grantor)
			deliver_report(&mail);
		else if (mail.to >= 0 && W.workers[mail.to].up &&
			 (mail.boot == 0 || W.workers[mail.to].boot == mail.boot))
			deliver_answer(&W.workers[mail.to], &mail);
		free(mail.data);
	}
}

static void report(struct worker *w)
{
	Penstock__LeaseReport r = PENSTOCK__LEASE_REPORT__INIT;
	Penstock__LeaseUse use = PENSTOCK__LEASE_USE__INIT, *uses[] = {&use};
	r.worker = w->id;
	r.boot = w->boot;
	r.seq = ++w->seq;
	r.n_uses = 1;
	r.uses = uses;
	use.target = (char *)"m";
	lease_report(&w->lease, &use, W.now);
	use.waiting = (uint32_t)w->waiting;
	use.first = w->waiting ? 100 : 0;
	use.want = (uint64_t)w->waiting * 100;
	w->asked = true;
	w->sent_us = W.now;
	post(-1, w->boot, &r.base);
}

static void end_calls(struct worker *w)
{
	for (int i = 0; i < CALLS; i++) {
		struct call *c = &w->calls[i];
		if (!c->runs || W.now < c->ends)
			continue;
		c->runs = false;
		W.running--;
		w->done++;
		note(0, c->completion);
		bool told = rng_below(&W.rng, 10) > 0;
		lease_settle(&w->lease, &c->permit, LEASE_GOOD, false, 0, told ? c->prompt : -1,
			     c->completion, W.now);
	}
}

static void start_calls(struct worker *w)
{
	for (int i = 0; i < CALLS && w->waiting > 0; i++) {
		struct call *c = &w->calls[i];
		if (c->runs)
			continue;
		if (!lease_take(&w->lease, &w->world, 100, W.now, &c->permit))
			return;
		c->runs = true;
		c->ends = W.now + 1 + (int64_t)rng_below(&W.rng, (uint64_t)(W.service_ms * 2 * MS));
		c->prompt = 5 + (int64_t)rng_below(&W.rng, 20);
		c->completion = (int64_t)rng_below(&W.rng, 70);
		w->waiting--;
		note(1, c->prompt);
		if (++W.running > W.running_peak)
			W.running_peak = W.running;
	}
}

static void run_worker(struct worker *w)
{
	end_calls(w);
	w->owed += w->offered * (double)STEP / 1e6;
	int64_t come = (int64_t)w->owed;
	w->owed -= (double)come;
	w->waiting = w->waiting + come < 1000 ? w->waiting + come : 1000;
	if (w->asked && W.now - w->sent_us > SECOND)
		w->asked = false; /* no answer */
	start_calls(w);
	bool due = W.now - w->sent_us >= LEASE_REPORT_US && lease_in_use(&w->lease, W.now);
	bool wants = w->waiting > 0 && W.now >= w->lease.retry_us;
	if (!w->asked && (due || wants))
		report(w);
}

static void make_mess(void)
{
	if (rng_unit(&W.rng) >= W.mess * (double)STEP / 1e6)
		return;
	struct worker *w = &W.workers[rng_below(&W.rng, WORKERS)];
	switch (rng_below(&W.rng, 3)) {
	case 0:
		if (w->up)
			kill_worker(w);
		return;
	default:
		if (!W.grantor)
			return;
		grantor_free(W.grantor);
		W.grantor = NULL;
		W.grantor_at = W.now + (int64_t)rng_below(&W.rng, 40 * SECOND);
	}
}

static void step(void)
{
	W.now += STEP;
	make_mess();
	for (int i = 0; i < WORKERS; i++)
		if (!W.workers[i].up && W.now >= W.workers[i].ends_us && W.workers[i].offered > 0)
			start_worker(&W.workers[i]);
	if (!W.grantor && W.now >= W.grantor_at)
		start_grantor(false);
	tell_members();
	if (W.grantor && W.now >= W.next_beat) {
		Penstock__LeaseAnswer beat;
		grantor_beat(W.grantor, W.now, &beat);
		for (int i = 0; i < WORKERS; i++)
			post(i, 0, &beat.base);
		grantor_answer_done(&beat);
		W.next_beat = W.now + LEASE_BEAT_US;
	}
	deliver();
	for (int i = 0; i < WORKERS; i++)
		if (W.workers[i].up)
			run_worker(&W.workers[i]);
}

static void begin(uint64_t seed, struct lease_limits limits)
{
	memset(&W, 0, sizeof(W));
	rng_seed(&W.rng, seed);
	W.now = START;
	limits.safe_rpm = limits.safe_tpm = limits.safe_concurrent = -1;
	W.limits = limits;
	W.service_ms = 200;
	for (int i = 0; i < WORKERS; i++) {
		snprintf(W.workers[i].id, sizeof(W.workers[i].id), "w%d", i);
		start_worker(&W.workers[i]);
	}
	start_grantor(true);
}

static void run(int64_t us)
{
	for (int64_t until = W.now + us; W.now < until;)
		step();
}

static void finish(void)
{
	grantor_free(W.grantor);
	for (size_t i = 0; i < W.n_mail; i++)
		free(W.mail[i].data);
}

static void check_limits(uint64_t seed)
{
	if (W.limits.rpm > 0)
		ck_assert_msg(W.calls_peak <= W.limits.rpm, "seed %lu: %ld calls of %ld",
			      (unsigned long)seed, (long)W.calls_peak, (long)W.limits.rpm);
	if (W.limits.tpm > 0)
		ck_assert_msg(W.tokens_peak <= W.limits.tpm, "seed %lu: %ld tokens of %ld",
			      (unsigned long)seed, (long)W.tokens_peak, (long)W.limits.tpm);
	if (W.limits.concurrent > 0)
		ck_assert_msg(W.running_peak <= W.limits.concurrent, "seed %lu: %ld at once of %ld",
			      (unsigned long)seed, (long)W.running_peak, (long)W.limits.concurrent);
}

/* Bursts, lost messages, dead workers, grantors that come and go: never above a limit. */
START_TEST(never_above_a_limit)
{
	const char *more = getenv("LEASE_SEEDS");
	int seeds = more ? atoi(more) : RUNS_OF(100);
	int64_t done = 0;
	for (int seed = 0; seed < seeds; seed++) {
		struct rng rng;
		rng_seed(&rng, (uint64_t)seed + 1000);
		struct lease_limits limits = {
		    .rpm = rng_below(&rng, 3) ? (int64_t)(1 + rng_below(&rng, 1500)) : 0,
		    .tpm = rng_below(&rng, 3) ? (int64_t)(100 + rng_below(&rng, 50000)) : 0,
		    .concurrent = rng_below(&rng, 3) ? (int64_t)(1 + rng_below(&rng, 40)) : 0};
		begin((uint64_t)seed, limits);
		W.service_ms = (int64_t)(20 + rng_below(&rng, 3000));
		W.loss = rng_below(&rng, 2) ? 0.05 : 0;
		W.mess = rng_below(&rng, 4) ? 0.06 : 0;
		for (int i = 0; i < WORKERS; i++)
			W.workers[i].offered =
			    rng_below(&rng, 4) ? (double)rng_below(&rng, 30) : 0.5;
		for (int part = 0; part < 8; part++) {
			W.workers[rng_below(&rng, WORKERS)].waiting +=
			    (int64_t)rng_below(&rng, 300);
			run(25 * SECOND);
		}
		for (int i = 0; i < WORKERS; i++)
			done += W.workers[i].done;
		check_limits((uint64_t)seed);
		finish();
	}
	ck_assert_int_gt(done, 100 * seeds);
}
END_TEST

/* What the limit allows is used: more than nine tenths of it. */
START_TEST(the_limit_is_used)
{
	static const struct lease_limits rows[] = {
	    {.rpm = 600},   {.rpm = 60},        {.rpm = 7},
	    {.tpm = 60000}, {.concurrent = 12}, {.rpm = 3000, .tpm = 80000, .concurrent = 30}};
	for (size_t r = 0; r < sizeof(rows) / sizeof(*rows); r++) {
		begin(r + 1, rows[r]);
		for (int i = 0; i < WORKERS; i++)
			W.workers[i].offered = 100;
		run(120 * SECOND);
		int64_t before = 0, after = 0;
		for (int i = 0; i < WORKERS; i++)
			before += W.workers[i].done;
		run(300 * SECOND);
		for (int i = 0; i < WORKERS; i++)
			after += W.workers[i].done;
		check_limits(r);
		double a_minute = (double)(after - before) / 5;
		if (rows[r].rpm > 0 && rows[r].tpm == 0)
			ck_assert_msg(a_minute >= 0.9 * (double)rows[r].rpm, "row %zu: %g", r,
				      a_minute);
		if (rows[r].tpm > 0) /* 50 tokens a call on the average, 55 with those not told */
			ck_assert_msg(a_minute * 55 >= 0.85 * (double)rows[r].tpm, "row %zu: %g", r,
				      a_minute);
		if (rows[r].concurrent > 0 && rows[r].rpm == 0)
			ck_assert_msg(a_minute * 0.2 / 60 >= 0.9 * (double)rows[r].concurrent,
				      "row %zu: %g", r, a_minute);
		finish();
	}
}
END_TEST

/* One that wants little gets all of it; the others share the rest evenly. */
START_TEST(workers_share_by_demand)
{
	static const struct lease_limits rows[] = {
	    {.rpm = 600}, {.tpm = 30000}, {.concurrent = 13}};
	for (size_t r = 0; r < sizeof(rows) / sizeof(*rows); r++) {
		begin(r + 1, rows[r]);
		W.workers[0].offered = 1;
		W.workers[1].offered = W.workers[2].offered = 100;
		run(300 * SECOND);
		int64_t a = W.workers[0].done, b = W.workers[1].done, c = W.workers[2].done;
		ck_assert_msg(a >= 285, "row %zu: %ld of 300", r, (long)a);
		ck_assert_msg(labs(b - c) * 10 < b + c && b > 2 * a, "row %zu: %ld and %ld", r,
			      (long)b, (long)c);
		check_limits(r);
		finish();
	}
}
END_TEST

/* Without a grantor a part goes on, and everything when it is back. */
START_TEST(without_a_grantor_the_safe_capacity)
{
	begin(3, (struct lease_limits){.rpm = 600, .concurrent = 12});
	for (int i = 0; i < WORKERS; i++)
		W.workers[i].offered = 100;
	run(120 * SECOND);
	grantor_free(W.grantor);
	W.grantor = NULL;
	W.grantor_at = INT64_MAX;
	run(25 * SECOND);
	int64_t before = W.workers[0].done + W.workers[1].done + W.workers[2].done;
	W.running_peak = W.running;
	run(120 * SECOND);
	int64_t after = W.workers[0].done + W.workers[1].done + W.workers[2].done;
	ck_assert_int_ge(after - before, 270); /* 150 a minute */
	ck_assert_int_le(after - before, 302);
	ck_assert_int_le(W.running_peak, 3);
	W.grantor_at = W.now;
	run(10 * SECOND); /* it learns */
	before = W.workers[0].done + W.workers[1].done + W.workers[2].done;
	run(60 * SECOND);
	after = W.workers[0].done + W.workers[1].done + W.workers[2].done;
	ck_assert_int_ge(after - before, 540);
	check_limits(3);
	finish();
}
END_TEST

/* What a dead worker held comes back after its term, and at once if it says good-bye. */
START_TEST(a_dead_workers_share_returns)
{
	begin(5, (struct lease_limits){.concurrent = 9});
	for (int i = 0; i < WORKERS; i++)
		W.workers[i].offered = 100;
	run(20 * SECOND);
	ck_assert_int_eq(W.running, 9);
	W.workers[0].offered = 0;
	kill_worker(&W.workers[0]);
	W.workers[0].ends_us = W.now;
	run(10 * SECOND);
	ck_assert_int_eq(W.running, 6);
	run(8 * SECOND);
	ck_assert_int_eq(W.running, 9);
	/* The same name again: its predecessor is dead. */
	kill_worker(&W.workers[1]);
	W.workers[1].ends_us = W.now;
	run(2 * SECOND);
	ck_assert_int_eq(W.running, 9);
	Penstock__LeaseReport bye = PENSTOCK__LEASE_REPORT__INIT;
	bye.worker = W.workers[1].id;
	bye.boot = W.workers[1].boot;
	bye.seq = W.workers[1].seq + 100;
	bye.bye = true;
	Penstock__LeaseAnswer answer;
	kill_worker(&W.workers[1]);
	W.workers[1].offered = 0;
	W.workers[1].ends_us = W.now;
	grantor_report(W.grantor, &bye, W.now, &answer);
	grantor_answer_done(&answer);
	run(2 * SECOND);
	ck_assert_int_eq(W.running, 9);
	finish();
}
END_TEST

/* What no grantor knows it refuses; what comes late or twice changes nothing. */
START_TEST(strange_reports)
{
	struct grantor_numbers numbers;
	begin(6, (struct lease_limits){.rpm = 60});
	Penstock__LeaseReport r = PENSTOCK__LEASE_REPORT__INIT;
	Penstock__LeaseUse use = PENSTOCK__LEASE_USE__INIT, *uses[] = {&use};
	Penstock__LeaseAnswer answer;
	use.target = (char *)"unknown";
	use.held = use.want = use.first = use.started = use.settled = UINT64_MAX;
	use.waiting = use.running = use.level = UINT32_MAX;
	r.worker = (char *)"w9";
	r.seq = 1;
	r.uses = uses;
	r.n_uses = 1;
	for (int i = 0; i < 3; i++) {
		grantor_report(W.grantor, &r, W.now, &answer);
		ck_assert_uint_eq(answer.n_grants, i == 2);
		grantor_answer_done(&answer);
		if (i == 1) {
			use.target = (char *)"m";
			r.seq++;
		}
	}
	grantor_numbers(W.grantor, &numbers);
	ck_assert_uint_eq(numbers.reports, 3);
	ck_assert_uint_eq(numbers.refused, 2);
	ck_assert(numbers.learning);
	/* Sums of such numbers are sums still (UBSan looks), also when it is gone. */
	for (int i = 0; i < 4000; i++) {
		r.seq++;
		use.settled = use.started = i % 2 ? UINT64_MAX : 0;
		use.held = INT64_MAX;
		grantor_report(W.grantor, &r, W.now, &answer);
		grantor_answer_done(&answer);
	}
	r.seq++;
	r.bye = true;
	grantor_report(W.grantor, &r, W.now, &answer);
	grantor_answer_done(&answer);
	finish();
}
END_TEST

RUN_TESTS("lease", shares_are_max_min_fair, shares_hold_for_any_numbers,
	  parts_of_the_safe_capacity_sum_up, a_trail_forgets_after_its_minute,
	  aimd_goes_down_fast_and_up_slowly, never_above_a_limit, the_limit_is_used,
	  workers_share_by_demand, without_a_grantor_the_safe_capacity,
	  a_dead_workers_share_returns, strange_reports)
