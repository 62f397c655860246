#include "tests/sim/memdb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"

struct memdb_sink {
	struct store_sink base;
	struct memdb *db;
	struct memdb_sink *next;
	struct store_listener listener;
	bool started;
	enum store_standing told;
	const struct store_batch *batch;
	struct timer seek, commit;
};

bool memdb_ends_task(const char *type)
{
	return strcmp(type, "task.completed") == 0 || strcmp(type, "task.failed") == 0 ||
	       strcmp(type, "task.cancelled") == 0 || strcmp(type, "task.expired") == 0;
}

int64_t memdb_not_before(const struct memdb_row *row)
{
	const char *at = strstr(row->data, "\"not_before\":");

	return at ? strtoll(strchr(at, ':') + 1, NULL, 10) : 0;
}

/* It is parked, or was accepted for a time that is still to come. */
static bool rests(const struct memdb_row *row)
{
	return !strcmp(row->type, "task.parked") ||
	       (!strcmp(row->type, "task.accepted") && memdb_not_before(row));
}

/* The task of this row rests, or rests no more. */
static void note_rest(struct memdb *db, size_t at)
{
	const struct memdb_row *row = &db->rows[at];

	for (size_t i = db->n_parked; i-- > 0;)
		if (!strcmp(db->rows[db->parked[i].row].channel, row->channel))
			db->parked[i] = db->parked[--db->n_parked];
	if (!rests(row))
		return;
	if (db->n_parked == db->cap_parked) {
		db->cap_parked = db->cap_parked ? 2 * db->cap_parked : 16;
		db->parked = xrealloc(db->parked, db->cap_parked * sizeof(*db->parked));
	}
	db->parked[db->n_parked++] =
	    (struct memdb_parked){.row = at, .not_before = memdb_not_before(row)};
}

const struct memdb_row *memdb_due(const struct memdb *db, int64_t now_ms)
{
	for (size_t i = 0; db->up && i < db->n_parked; i++)
		if (!db->parked[i].released && db->parked[i].not_before <= now_ms)
			return &db->rows[db->parked[i].row];
	return NULL;
}

void memdb_released(struct memdb *db, uint64_t seq)
{
	for (size_t i = 0; i < db->n_parked; i++)
		if (db->rows[db->parked[i].row].seq == seq)
			db->parked[i].released = true;
}

static void append(struct memdb *db, const struct store_item *item)
{
	struct memdb_row *row;

	if (!item->event) {
		db->poison++;
		return;
	}
	/* As the key table of the real one: a keyed event's id has one row for ever. */
	if (item->event->key[0])
		for (size_t i = 0; i < db->n; i++)
			if (strcmp(db->rows[i].id, item->event->id) == 0)
				return;
	if (db->n == db->cap) {
		db->cap = db->cap ? 2 * db->cap : 256;
		db->rows = xrealloc(db->rows, db->cap * sizeof(*db->rows));
	}
	row = &db->rows[db->n++];
	*row = (struct memdb_row){
	    .seq = item->seq,
	    .id = xstrdup(item->event->id),
	    .tenant = xstrdup(item->event->tenant),
	    .channel = xstrdup(item->event->channel),
	    .type = xstrdup(item->event->type),
	    .key = xstrdup(item->event->key),
	    .data = xstrndup((char *)item->event->data.data, item->event->data.len),
	    .digest = item->event->digest,
	    .time_us = item->event->time_us,
	};
	note_rest(db, db->n - 1);
}

/* One transaction: the rows behind the position, and the position. */
static void store(struct memdb *db, const struct store_batch *batch)
{
	for (size_t i = 0; i < batch->n; i++) {
		const struct store_item *item = &batch->items[i];

		if (item->seq <= db->position)
			continue;
		append(db, item);
		db->position = item->seq;
		snprintf(db->position_id, sizeof(db->position_id), "%s",
			 item->event ? item->event->id : "");
	}
}

static void tell(struct memdb_sink *s, enum store_standing standing)
{
	struct memdb *db = s->db;

	if (s->told == standing)
		return;
	s->told = standing;
	s->listener.standing(s->listener.arg, standing, db->position, db->position_id);
}

static void on_seek(struct timer *timer, void *arg)
{
	struct memdb_sink *s = arg;
	struct memdb *db = s->db;

	if (!db->up) {
		tell(s, STORE_AWAY);
	} else if (!db->leader || db->leader == s) {
		db->leader = s;
		tell(s, STORE_LEADING);
	} else {
		tell(s, STORE_STANDBY);
	}
	timer_set(db->loop, timer, 200000);
}

static void on_commit(struct timer *timer, void *arg)
{
	struct memdb_sink *s = arg;
	struct memdb *db = s->db;
	struct error err;

	(void)timer;
	if (db->up && db->leader == s) {
		store(db, s->batch);
		s->batch = NULL;
		s->listener.written(s->listener.arg, NULL);
		return;
	}
	s->batch = NULL;
	err_set(&err, ERR_TRANSIENT, "the connection was lost");
	s->listener.written(s->listener.arg, &err);
}

static void sink_start(struct store_sink *base, uint64_t epoch,
		       const struct store_listener *listener)
{
	struct memdb_sink *s = (struct memdb_sink *)base;

	(void)epoch;
	s->listener = *listener;
	s->started = true;
	s->told = STORE_AWAY;
	timer_set(s->db->loop, &s->seek, 1000);
}

static void sink_write(struct store_sink *base, const struct store_batch *batch)
{
	struct memdb_sink *s = (struct memdb_sink *)base;

	s->batch = batch;
	timer_set(s->db->loop, &s->commit, 500 + (int64_t)rng_below(s->db->rng, 10000));
}

static const struct store_sink_ops sink_ops = {.start = sink_start, .write = sink_write};

void memdb_init(struct memdb *db, struct loop *loop, struct rng *rng)
{
	*db = (struct memdb){.loop = loop, .rng = rng, .up = true, .kept_from = 1};
}

void memdb_done(struct memdb *db)
{
	for (size_t i = 0; i < db->n; i++) {
		struct memdb_row *row = &db->rows[i];

		free(row->id);
		free(row->tenant);
		free(row->channel);
		free(row->type);
		free(row->key);
		free(row->data);
	}
	free(db->rows);
	free(db->parked);
}

void memdb_set_up(struct memdb *db, bool up)
{
	if (db->up == up)
		return;
	db->up = up;
	if (up)
		return;
	/* The server may have committed what it did not live to confirm. */
	if (db->leader && db->leader->batch && rng_below(db->rng, 2))
		store(db, db->leader->batch);
	db->leader = NULL;
}

struct store_sink *memdb_connect(struct memdb *db)
{
	struct memdb_sink *s = xcalloc(1, sizeof(*s));

	s->base.ops = &sink_ops;
	s->db = db;
	timer_init(&s->seek, on_seek, s);
	timer_init(&s->commit, on_commit, s);
	return &s->base;
}

void memdb_disconnect(struct store_sink *base)
{
	struct memdb_sink *s = (struct memdb_sink *)base;
	struct memdb *db;

	if (!s)
		return;
	db = s->db;
	if (db->leader == s) {
		if (s->batch && rng_below(db->rng, 2))
			store(db, s->batch);
		db->leader = NULL;
	}
	timer_cancel(db->loop, &s->seek);
	timer_cancel(db->loop, &s->commit);
	free(s);
}

bool memdb_leads(const struct store_sink *base)
{
	const struct memdb_sink *s = (const struct memdb_sink *)base;

	return s && s->db->leader == s;
}
