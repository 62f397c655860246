/* What DESIGN section 9 promises, held against the database, the streams and what the clients were
 * told. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/cluster.h"

static bool on_task(const struct memdb_row *row, const char *task)
{
	return strncmp(row->channel, "task.", 5) == 0 && strcmp(row->channel + 5, task) == 0;
}

static bool task_ended(const struct memdb *db, const char *task)
{
	for (size_t i = 0; i < db->n; i++)
		if (on_task(&db->rows[i], task) && memdb_ends_task(db->rows[i].type))
			return true;
	return false;
}

/* Every task that is in the log has its end there. */
static bool all_ended(const struct memdb *db)
{
	for (size_t i = 0; i < db->n; i++)
		if (strcmp(db->rows[i].type, "task.accepted") == 0 &&
		    !task_ended(db, db->rows[i].channel + 5))
			return false;
	return true;
}

static bool on_channel(const struct memdb_row *row, const struct subscriber *s)
{
	return !strcmp(row->channel, s->channel) && !strcmp(row->tenant, s->tenant);
}

static uint64_t newest(const struct memdb *db, const struct subscriber *s)
{
	for (size_t i = db->n; i-- > 0;)
		if (on_channel(&db->rows[i], s) && db->rows[i].seq >= db->kept_from)
			return db->rows[i].seq;
	return 0;
}

/* … that it is not kept any more. */
static bool was_told(const struct subscriber *s, uint64_t seq)
{
	for (size_t i = 0; i < s->n_lost; i++)
		if (seq >= s->lost[i].from && seq <= s->lost[i].to)
			return true;
	return false;
}

/* Whatever happened on the way: all of its channel, once and in order, and nothing else. */
static void check_reader(struct cluster *c, const struct subscriber *s)
{
	size_t at = 0;

	for (size_t i = 0; i < c->db.n; i++) {
		if (!on_channel(&c->db.rows[i], s) || was_told(s, c->db.rows[i].seq))
			continue;
		if (at == s->n && c->db.rows[i].seq < c->db.kept_from)
			continue; /* nobody asked for it */
		if (at == s->n || s->seen[at] != c->db.rows[i].seq) {
			cluster_fail(c, "subscriber %d has not seen %llu", s->number,
				     (unsigned long long)c->db.rows[i].seq);
			return;
		}
		at++;
	}
	if (at != s->n)
		cluster_fail(c, "subscriber %d saw %zu events more than there are", s->number,
			     s->n - at);
}

bool check_settled(struct cluster *c)
{
	for (int i = 0; i < SIM_CLIENTS; i++)
		if (!client_idle(&c->clients[i]))
			return false;
	for (int i = 0; i < SIM_READERS; i++)
		if (c->readers[i].pos < newest(&c->db, &c->readers[i])) {
			snprintf(c->waiting, sizeof(c->waiting),
				 "subscriber %d is at %llu of %llu%s", i,
				 (unsigned long long)c->readers[i].pos,
				 (unsigned long long)newest(&c->db, &c->readers[i]),
				 c->readers[i].fd < 0 ? ", not connected" : "");
			return false;
		}
	cluster_look(c);
	return c->db.position == c->last_seq && c->queued == 0 && all_ended(&c->db);
}

/* What was to wait says so in the log, if it was accepted before its time. */
static void check_delay(struct cluster *c, const struct op *op, const struct memdb_row *row)
{
	bool early = row->time_us / 1000 < op->not_before_ms;

	if (memdb_not_before(row) != (early ? op->not_before_ms : 0))
		cluster_fail(c, "task of %s, not before %lld, is in the log for %lld", op->key,
			     (long long)op->not_before_ms, (long long)memdb_not_before(row));
}

/* Acknowledged = stored, once, where it was said to be, under its own tenant. */
static void check_promise(struct cluster *c, const struct client *cl, const struct op *op)
{
	const struct promise *p = &op->promise;
	size_t found = 0;

	if (!op->accepted && op->archived)
		return; /* that it is there once at most is seen by its key */
	if (!op->accepted) {
		cluster_fail(c, "operation %s was never accepted", op->key);
		return;
	}
	for (size_t i = 0; i < c->db.n; i++) {
		const struct memdb_row *row = &c->db.rows[i];

		if (strcmp(row->id, p->event_id) != 0)
			continue;
		found++;
		if (op->kind == WANT_TASK)
			check_delay(c, op, row);
		if (row->seq != p->offset || strcmp(row->tenant, cl->tenant) != 0 ||
		    (op->kind == WANT_EVENT && strcmp(row->channel, cl->channel) != 0) ||
		    (op->kind == WANT_TASK && !on_task(row, p->task)))
			cluster_fail(c, "event %s of %s was promised at %llu and is %s at %llu",
				     p->event_id, op->key, (unsigned long long)p->offset,
				     row->channel, (unsigned long long)row->seq);
	}
	if (found != 1)
		cluster_fail(c, "event %s of %s is stored %zu times", p->event_id, op->key, found);
	if (op->kind == WANT_TASK && !task_ended(&c->db, p->task))
		cluster_fail(c, "task %s of %s has no end", p->task, op->key);
}

/* What a client did one after the other stands in that order. */
static void check_order(struct cluster *c, const struct client *cl)
{
	uint64_t last = 0;

	for (int i = 0; i < SIM_OPS; i++) {
		const struct op *op = &cl->ops[i];

		if (op->kind != WANT_EVENT || !op->accepted)
			continue;
		/* Accepted late by a repeat is still after what was accepted before it was first
		 * sent. */
		if (op->promise.offset <= last)
			cluster_fail(c, "%s is at %llu, behind its predecessor at %llu", op->key,
				     (unsigned long long)op->promise.offset,
				     (unsigned long long)last);
		last = op->promise.offset;
	}
}

/* One key, one event: no two rows of one tenant with the same key on the same kind of thing. */
static void check_keys(struct cluster *c)
{
	for (size_t i = 0; i < c->db.n; i++)
		for (size_t j = i + 1; j < c->db.n; j++) {
			const struct memdb_row *a = &c->db.rows[i], *b = &c->db.rows[j];

			if (strcmp(a->id, b->id) == 0)
				cluster_fail(c, "event %s is stored at %llu and %llu", a->id,
					     (unsigned long long)a->seq,
					     (unsigned long long)b->seq);
			if (a->key[0] && strcmp(a->key, b->key) == 0 &&
			    strcmp(a->tenant, b->tenant) == 0 && strcmp(a->type, b->type) == 0)
				cluster_fail(c, "key %s made two events", a->key);
		}
}

static size_t count(const struct cluster *c, const char *task, const char *type, const char *stage)
{
	size_t n = 0;
	char member[64];

	snprintf(member, sizeof(member), "\"stage\":\"%s\"", stage ? stage : "");
	for (size_t i = 0; i < c->db.n; i++) {
		const struct memdb_row *row = &c->db.rows[i];

		if (on_task(row, task) && strcmp(row->type, type) == 0 &&
		    (!stage || strstr(row->data, member)))
			n++;
	}
	return n;
}

/* What a stage published, by whatever many attempts. */
static const struct memdb_row *published(struct cluster *c, const char *task)
{
	const struct memdb_row *found = NULL;
	char key[64];

	snprintf(key, sizeof(key), "%s/e", task);
	for (size_t i = 0; i < c->db.n; i++) {
		if (strcmp(c->db.rows[i].key, key) != 0)
			continue;
		if (found || strcmp(c->db.rows[i].channel, "made") != 0)
			cluster_fail(c, "task %s published at %llu as well", task,
				     (unsigned long long)c->db.rows[i].seq);
		found = &c->db.rows[i];
	}
	return found;
}

/* The stage e with its condition: either it is skipped, or its event is there and it knows which.
 */
static void check_publish(struct cluster *c, const char *task, bool completed)
{
	size_t done = count(c, task, "task.stage.completed", "e");
	size_t skipped = count(c, task, "task.stage.skipped", "e");
	const struct memdb_row *event = published(c, task);

	if (done + skipped > 1 || (completed && done + skipped != 1))
		cluster_fail(c, "stage e of task %s completed %zu times and was skipped %zu times",
			     task, done, skipped);
	if ((done && !event) || (skipped && event))
		cluster_fail(c, "task %s has %s", task, event ? "published" : "not published");
	for (size_t i = 0; i < c->db.n; i++) {
		const struct memdb_row *row = &c->db.rows[i];

		if (on_task(row, task) && strstr(row->data, "\"bad_input\""))
			cluster_fail(c, "stage e of task %s ran without its input: %s", task,
				     row->data);
		if (done && event && on_task(row, task) &&
		    !strcmp(row->type, "task.stage.completed") &&
		    strstr(row->data, "\"stage\":\"e\"") && !strstr(row->data, event->id))
			cluster_fail(c, "task %s says it published something else than %s: %s",
				     task, event->id, row->data);
	}
}

/* A task that is parked or delayed does not go on before its time. */
static void check_rest(struct cluster *c, const struct memdb_row *row, int64_t *not_before)
{
	if (row->time_us / 1000 < *not_before)
		cluster_fail(c, "%s at %llu is too early: the task rested", row->type,
			     (unsigned long long)row->seq);
	*not_before = 0;
	if (strcmp(row->type, "task.parked") == 0 || strcmp(row->type, "task.accepted") == 0)
		*not_before = memdb_not_before(row);
	if (strcmp(row->type, "task.parked") == 0 && !*not_before)
		cluster_fail(c, "the task at %llu is parked for ever",
			     (unsigned long long)row->seq);
}

/* A stage completes at most once, a task is accepted once and ends once, and nothing follows its
 * end. */
static void check_task(struct cluster *c, const char *task)
{
	static const char *const stages[] = {"a", "b", "c", "d"};
	int64_t not_before = 0;
	bool ended = false, completed = count(c, task, "task.completed", NULL) > 0;

	if (count(c, task, "task.accepted", NULL) != 1)
		cluster_fail(c, "task %s was accepted %zu times", task,
			     count(c, task, "task.accepted", NULL));
	for (size_t i = 0; i < 4; i++) {
		size_t n = count(c, task, "task.stage.completed", stages[i]);

		if (n > 1 || (completed && n != 1))
			cluster_fail(c, "stage %s of task %s completed %zu times", stages[i], task,
				     n);
	}
	for (size_t i = 0; i < c->db.n; i++) {
		const struct memdb_row *row = &c->db.rows[i];

		if (!on_task(row, task))
			continue;
		if (ended)
			cluster_fail(c, "%s at %llu follows the end of task %s", row->type,
				     (unsigned long long)row->seq, task);
		ended = ended || memdb_ends_task(row->type);
		check_rest(c, row, &not_before);
	}
	check_publish(c, task, completed);
}

/* By the model's own count. */
static void check_model(struct cluster *c)
{
	const struct server_counts *counts = &c->model.counts;

	if (counts->most_open > SIM_AT_ONCE)
		cluster_fail(c, "the model had %zu calls at once", counts->most_open);
	if (counts->most_a_minute > SIM_RPM)
		cluster_fail(c, "the model had %zu calls in a minute", counts->most_a_minute);
}

void check_promises(struct cluster *c)
{
	check_model(c);
	/* Nothing was trimmed and no id is older than the dedupe window: every message is a row. */
	if (c->db.n != c->last_seq || c->db.poison)
		cluster_fail(c, "%llu messages, %zu rows, %zu of them poison",
			     (unsigned long long)c->last_seq, c->db.n, c->db.poison);
	for (size_t i = 0; i < c->db.n; i++)
		if (c->db.rows[i].seq != i + 1)
			cluster_fail(c, "row %zu has sequence %llu", i,
				     (unsigned long long)c->db.rows[i].seq);
	for (int i = 0; i < SIM_CLIENTS; i++) {
		for (int j = 0; j < SIM_OPS; j++)
			check_promise(c, &c->clients[i], &c->clients[i].ops[j]);
		check_order(c, &c->clients[i]);
	}
	for (int i = 0; i < SIM_READERS; i++)
		check_reader(c, &c->readers[i]);
	check_keys(c);
	for (size_t i = 0; i < c->db.n; i++)
		if (strcmp(c->db.rows[i].type, "task.accepted") == 0)
			check_task(c, c->db.rows[i].channel + 5);
}

/* --- keys that nobody remembers ------------------------------------------------------------- */

static bool repeats_are_over(struct cluster *c)
{
	for (int i = 0; i < SIM_CLIENTS; i++)
		if (c->clients[i].probe >= 0 || c->clients[i].asked > 0)
			return false;
	cluster_look(c);
	return c->db.position == c->last_seq && c->queued == 0;
}

/* The broker's memory is bounded in time, a router's ends with it (docs/decisions/0013). */
static void forget_all(struct cluster *c)
{
	for (int i = 0; i < SIM_ROUTERS; i++)
		node_crash(&c->nodes[i]);
	cluster_run(c, (SIM_DEDUPE_S + 1) * INT64_C(1000000));
	for (int i = 0; i < SIM_ROUTERS; i++)
		node_start(&c->nodes[i]);
}

void check_late_keys(struct cluster *c)
{
	size_t rows = c->db.n;
	uint64_t messages = c->last_seq;
	int tries = 0;

	forget_all(c);
	c->late = true;
	for (int i = 0; i < SIM_CLIENTS; i++)
		client_repeat(&c->clients[i]);
	do
		cluster_run(c, 1000000);
	while (!c->failure[0] && !repeats_are_over(c) && ++tries < 120);
	if (tries == 120)
		cluster_fail(c, "old keys are not answered");
	c->late_messages += c->last_seq - messages;
	if (c->db.n != rows)
		cluster_fail(c, "old keys made %zu rows", c->db.n - rows);
	if (c->late_messages > c->late_publishes) /* a task has its channel, which is its key */
		cluster_fail(c, "%llu messages of %llu old events: a task began again",
			     (unsigned long long)c->late_messages,
			     (unsigned long long)c->late_publishes);
	for (int i = 0; i < SIM_CLIENTS; i++)
		for (int j = 0; j < SIM_OPS; j++)
			check_promise(c, &c->clients[i], &c->clients[i].ops[j]);
}
