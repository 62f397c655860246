/* The part of an event-store that keeps the stream short and answers for what is not in it any
 * more, over the simulated database, which forgets what is old. */
#include <string.h>

#include "common/names.h"
#include "proto/store.pb-c.h"
#include "services/event-store/trim.h"
#include "tests/sim/cluster.h"

#define KEEP_MS   3000 /* in the stream */
#define PERIOD_US 2000000
#define PAGE      16

/* What PostgreSQL would say of the one that leads (services/event-store/sink_pg.c). */
static void hold(void *source, int64_t task_max_ms,
		 void (*fn)(void *arg, const struct store_hold *hold), void *arg)
{
	struct node *n = source;
	const struct memdb *db = &n->cluster->db;
	const struct store_hold h = {.known = db->up && memdb_leads(n->sink),
				     .position = db->position};

	(void)task_max_ms; /* there are no tasks where there is little room */
	fn(arg, &h);
}

/* --- pen.store.replay ------------------------------------------------------------------------- */

static Penstock__StoredEvent stored(const struct memdb_row *row, uint64_t prev, Penstock__Event *e)
{
	Penstock__StoredEvent s = PENSTOCK__STORED_EVENT__INIT;

	penstock__event__init(e);
	e->id = row->id;
	e->tenant = row->tenant;
	e->channel = row->channel;
	e->type = row->type;
	e->key = row->key;
	e->version = 1;
	e->time_us = row->time_us;
	e->data = (ProtobufCBinaryData){strlen(row->data), (uint8_t *)row->data};
	s.offset = row->seq;
	s.prev = prev;
	s.event = e;
	return s;
}

static void answer(struct node *n, const char *to, const Penstock__ReplayReply *reply)
{
	size_t len = penstock__replay_reply__get_packed_size(reply);
	uint8_t *packed = xmalloc(len + 1);
	struct error err;

	penstock__replay_reply__pack(reply, packed);
	if (bus_publish(n->bus, to, packed, len, &err))
		cluster_fail(n->cluster, "a page is not sent: %s", err.msg);
	free(packed);
}

static void on_replay(void *arg, const struct bus_msg *msg)
{
	struct node *n = arg;
	const struct memdb *db = &n->cluster->db;
	Penstock__ReplayRequest *q = penstock__replay_request__unpack(NULL, msg->len, msg->data);
	Penstock__ReplayReply reply = PENSTOCK__REPLAY_REPLY__INIT;
	Penstock__StoredEvent items[PAGE], *events[PAGE];
	Penstock__Event inner[PAGE];
	uint64_t prev = 0;

	reply.epoch = n->cluster->epoch;
	reply.events = events;
	reply.stored = true;
	reply.kept_from = db->kept_from;
	reply.position = db->position;
	if (!db->up)
		reply.error = (char *)"unavailable";
	for (size_t i = 0; q && db->up && i < db->n && !reply.more; i++) {
		const struct memdb_row *row = &db->rows[i];

		if (row->seq < db->kept_from || (q->until && row->seq > q->until) ||
		    strcmp(row->channel, q->channel) != 0 || strcmp(row->tenant, q->tenant) != 0)
			continue;
		if (!reply.earliest)
			reply.earliest = row->seq;
		if (row->seq > q->after && reply.n_events == (q->limit < PAGE ? q->limit : PAGE)) {
			reply.more = true;
		} else if (row->seq > q->after) {
			items[reply.n_events] = stored(row, prev, &inner[reply.n_events]);
			events[reply.n_events] = &items[reply.n_events];
			reply.n_events++;
		}
		prev = row->seq;
	}
	answer(n, msg->reply, &reply);
	if (q)
		penstock__replay_request__free_unpacked(q, NULL);
}

/* --- life ------------------------------------------------------------------------------------- */

void archive_start(struct node *n)
{
	static const struct store_trim_conf conf = {.period_us = PERIOD_US,
						    .keep_ms = KEEP_MS,
						    .keep_bytes = UINT64_MAX,
						    .task_max_ms = INT64_MAX,
						    .task_max_bytes = UINT64_MAX};
	struct cluster *c = n->cluster;
	struct error err = {0};

	n->replay = bus_subscribe(n->bus, SUBJECT_STORE_REPLAY, "store", on_replay, n, &err);
	if (!n->replay)
		cluster_fail(c, "replay: %s", err.msg);
	if (c->trims)
		n->trim = store_trim_start(n->bus, c->loop, &conf, c->epoch, hold, n, NULL, NULL,
					   n->metrics);
}

void archive_end(struct node *n)
{
	store_trim_stop(n->trim);
	n->replay = NULL; /* it goes with its bus */
}

void archive_free(struct node *n)
{
	store_trim_free(n->trim);
	n->trim = NULL;
}
