/* Ephemeral events that subscribers send each other, on the channel that they listen to: by the
 * direct road where their edge has a lease, through the router where it has none.
 *
 * What is promised of them: over one connection nobody gets one twice, nor those that were sent
 * together out of order (of others, the simulated broker may deliver the answer before the event,
 * which lets the next one overtake it); none crosses to another tenant; none comes that was
 * refused; and with the tenant's durable events and tasks they are never more than burst + rate *
 * time, so long as the router of the part is the same. When all is healed, each reaches everybody.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/gcra.h"
#include "tests/sim/cluster.h"

#define ALL_AT_ONCE  24 /* more than the burst, with what others send */
#define PAUSE_US     2000000
#define NEWS_MS      1000 /* so much later is it seen at most that a part went over */
#define TAKE_OVER_MS 8000 /* until all agree on who owns a part, and the last one has let go */
#define ROUNDS       30

/* --- out -------------------------------------------------------------------------------------- */

static struct pulse *pulse_send(struct subscriber *s)
{
	struct pulse *p;
	char id[16];

	if (s->n_pulses == s->cap_pulses) {
		s->cap_pulses = s->cap_pulses ? 2 * s->cap_pulses : 64;
		s->pulses = xrealloc(s->pulses, s->cap_pulses * sizeof(*s->pulses));
	}
	p = &s->pulses[s->n_pulses];
	*p = (struct pulse){.sent_us = loop_now_us(s->cluster->loop)};
	snprintf(id, sizeof(id), "p%zu", s->n_pulses);
	subscriber_say(s, json_pack("{s:s,s:s,s:s,s:s,s:{s:i,s:I}}", "op", "publish", "id", id,
				    "channel", s->channel, "type", "pulse", "data", "from",
				    s->number, "n", (json_int_t)s->n_pulses));
	s->n_pulses++;
	return p;
}

void pulse_beat(struct subscriber *s)
{
	struct cluster *c = s->cluster;
	uint64_t n;

	if (c->healed || loop_now_us(c->loop) < s->pulse_us)
		return;
	s->pulse_us = loop_now_us(c->loop) + (int64_t)rng_below(&c->rng, PAUSE_US);
	n = rng_below(&c->rng, 12) ? 1 + rng_below(&c->rng, 4) : ALL_AT_ONCE;
	while (s->subscribed && n-- > 0)
		pulse_send(s);
}

/* --- in --------------------------------------------------------------------------------------- */

static struct pulse *pulse_at(const struct subscriber *s, uint64_t n)
{
	return n < s->n_pulses ? &s->pulses[n] : NULL;
}

void pulse_answered(struct subscriber *s, const json_t *frame, const char *refused)
{
	const char *id = json_string_value(json_object_get(frame, "id"));
	struct pulse *p = pulse_at(s, strtoull(id + 1, NULL, 10));

	if (!p)
		cluster_fail(s->cluster, "subscriber %d got an answer to %s", s->number, id);
	else if (!refused)
		p->accepted = true;
	else if (!strcmp(refused, "rate_limited"))
		p->refused = true;
	else if (strcmp(refused, "unavailable") != 0 && strcmp(refused, "overloaded") != 0)
		cluster_fail(s->cluster, "pulse %s of subscriber %d was refused: %s", id, s->number,
			     refused);
}

static int64_t day_ms(int64_t us)
{
	return us / 1000 % INT64_C(86400000);
}

/* A router that takes a part over begins with full buckets, beside the old one for a while. */
static bool changing(const struct cluster *c, int64_t at_ms)
{
	for (size_t i = 0; i < c->n_changes; i++)
		if (at_ms >= day_ms(c->changes[i]) - NEWS_MS &&
		    at_ms < day_ms(c->changes[i]) + TAKE_OVER_MS)
			return true;
	return false;
}

/* "2026-11-24T22:59:59.123Z" without its date: no run is longer than a day. */
static int64_t time_of(const json_t *frame)
{
	const char *t = json_string_value(json_object_get(frame, "time"));
	int h, m, s, ms;

	if (!t || sscanf(t, "%*10cT%2d:%2d:%2d.%3d", &h, &m, &s, &ms) != 4)
		return -1;
	return ((h * 60 + m) * 60 + s) * INT64_C(1000) + ms;
}

void pulse_came(struct subscriber *s, const json_t *frame)
{
	const json_t *data = json_object_get(frame, "data");
	uint64_t from = (uint64_t)json_integer_value(json_object_get(data, "from"));
	uint64_t n = (uint64_t)json_integer_value(json_object_get(data, "n"));
	struct subscriber *sender = from < SIM_READERS ? &s->cluster->readers[from] : NULL;
	struct pulse *p = sender ? pulse_at(sender, n) : NULL;
	const struct pulse *last;

	if (!p || strcmp(sender->tenant, s->tenant) != 0 ||
	    strcmp(sender->channel, s->channel) != 0 || json_object_get(frame, "offset")) {
		cluster_fail(s->cluster, "subscriber %d of %s got pulse %llu of %llu", s->number,
			     s->tenant, (unsigned long long)n, (unsigned long long)from);
		return;
	}
	p->passed_ms = time_of(frame);
	if (p->passed_ms < 0)
		cluster_fail(s->cluster, "a pulse without its time");
	last = pulse_at(sender, s->heard[from]);
	/* Commands that the broker doubles are two events. */
	if (!s->cluster->doubles && p->refused)
		cluster_fail(s->cluster, "subscriber %d got the refused pulse %llu of %llu",
			     s->number, (unsigned long long)n, (unsigned long long)from);
	else if (!s->cluster->doubles && p->seen[s->number] == s->lives)
		cluster_fail(s->cluster, "subscriber %d got pulse %llu of %llu twice", s->number,
			     (unsigned long long)n, (unsigned long long)from);
	else if (!s->cluster->doubles && last->seen[s->number] == s->lives &&
		 last->sent_us == p->sent_us && n < s->heard[from] &&
		 !changing(s->cluster, p->passed_ms))
		cluster_fail(s->cluster, "subscriber %d got pulse %llu of %llu behind %llu",
			     s->number, (unsigned long long)n, (unsigned long long)from,
			     (unsigned long long)s->heard[from]);
	s->heard[from] = n;
	p->seen[s->number] = s->lives;
}

/* --- the limit -------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

/* All that the limit of acme is for, by the time at which it was let pass. */
static size_t gather(const struct cluster *c, int64_t **passed)
{
	size_t n = 0, most = c->db.n;

	for (int i = 0; i < SIM_READERS; i++)
		most += c->readers[i].n_pulses;
	*passed = xmalloc((most + 1) * sizeof(**passed));
	for (size_t i = 0; i < c->db.n; i++) {
		const struct memdb_row *row = &c->db.rows[i];

		if (!strcmp(row->tenant, "acme") &&
		    (!strcmp(row->type, "note") || !strcmp(row->type, "task.accepted")))
			(*passed)[n++] = day_ms(row->time_us);
	}
	for (int i = 0; i < SIM_READERS; i++)
		for (size_t j = 0; j < c->readers[i].n_pulses; j++)
			if (!strcmp(c->readers[i].tenant, "acme") &&
			    c->readers[i].pulses[j].passed_ms)
				(*passed)[n++] = c->readers[i].pulses[j].passed_ms;
	qsort(*passed, n, sizeof(**passed), compare);
	return n;
}

void check_limit(struct cluster *c)
{
	const int64_t ms = 1000000; /* of a time of the day, which is a little earlier */
	struct gcra bucket = {0};
	int64_t *passed;
	size_t n = gather(c, &passed);

	for (size_t i = 0; i < n; i++) {
		if (changing(c, passed[i])) {
			bucket = (struct gcra){0};
			continue;
		}
		c->limited++;
		if (gcra_wait_ns(&bucket, SIM_RATE, SIM_BURST, 1, passed[i] * ms) > ms)
			cluster_fail(c, "more passed than the limit, at %lld ms of the day",
				     (long long)passed[i]);
		gcra_take(&bucket, SIM_RATE, 1, passed[i] * ms);
	}
	free(passed);
}

/* --- when all is healed ----------------------------------------------------------------------- */

static bool all_there(const struct cluster *c)
{
	for (int i = 0; i < SIM_READERS; i++)
		if (!c->readers[i].subscribed || !subscriber_awake(&c->readers[i]))
			return false;
	return true;
}

/* One of each. False: a connection ended meanwhile, or it was too much at once. */
static bool round_of_pulses(struct cluster *c)
{
	int lives[SIM_READERS];

	for (int i = 0; i < SIM_READERS; i++) {
		lives[i] = c->readers[i].lives;
		pulse_send(&c->readers[i]);
	}
	cluster_run(c, PAUSE_US);
	for (int i = 0; i < SIM_READERS; i++)
		if (c->readers[i].lives != lives[i] || !c->readers[i].subscribed ||
		    !c->readers[i].pulses[c->readers[i].n_pulses - 1].accepted)
			return false;
	return true;
}

static void check_round(struct cluster *c)
{
	for (int i = 0; i < SIM_READERS; i++)
		for (int j = 0; j < SIM_READERS; j++) {
			const struct subscriber *from = &c->readers[i], *to = &c->readers[j];

			if (!strcmp(from->tenant, to->tenant) &&
			    !strcmp(from->channel, to->channel) &&
			    from->pulses[from->n_pulses - 1].seen[j] != to->lives)
				cluster_fail(c, "subscriber %d did not get the last pulse of %d", j,
					     i);
		}
}

void check_pulses(struct cluster *c)
{
	int tries = 0;

	do /* those that are still on their way may fill a queue */
		cluster_run(c, PAUSE_US);
	while (!c->failure[0] && !(all_there(c) && round_of_pulses(c)) && ++tries < ROUNDS);
	if (tries == ROUNDS)
		cluster_fail(c, "pulses do not come through");
	if (!c->failure[0])
		check_round(c);
}
