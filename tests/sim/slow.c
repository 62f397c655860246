/* The slow path of the event-store that leads: parked and delayed tasks get their ticket when their
 * time has come, as services/event-store/release.c does it, one after the other, over the simulated
 * database. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/names.h"
#include "proto/command.pb-c.h"
#include "tests/sim/cluster.h"

#define ROUND_US 200000
#define ASK_MS   3000

static const struct memdb_row *accepted_of(const struct memdb *db, const struct memdb_row *parked)
{
	for (size_t i = 0; i < db->n; i++)
		if (!strcmp(db->rows[i].channel, parked->channel) &&
		    !strcmp(db->rows[i].type, "task.accepted"))
			return &db->rows[i];
	return NULL;
}

static void answered(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct node *n = arg;
	Penstock__Reply *r =
	    result == BUS_OK ? penstock__reply__unpack(NULL, msg->len, msg->data) : NULL;

	n->asking = false;
	if (r && r->body_case == PENSTOCK__REPLY__BODY_ACCEPTED) {
		memdb_released(&n->cluster->db, n->asked_seq);
		n->cluster->released++;
	} else if (r && r->body_case == PENSTOCK__REPLY__BODY_REFUSED && !r->refused->temporary) {
		cluster_fail(n->cluster, "a parked task is refused for good: %s", r->refused->code);
	}
	if (r)
		penstock__reply__free_unpacked(r, NULL);
}

static void ask(struct node *n, const struct memdb_row *parked, const struct memdb_row *accepted)
{
	Penstock__Command cmd = PENSTOCK__COMMAND__INIT;
	Penstock__ReleaseTask release = PENSTOCK__RELEASE_TASK__INIT;
	Penstock__Event e = PENSTOCK__EVENT__INIT;
	struct subject subject = subject_cmd(part_of(parked->tenant, SIM_PARTS));
	uint8_t buf[4096];
	char name[80];
	struct id id;

	snprintf(name, sizeof(name), "%s:%llu", parked->channel, (unsigned long long)parked->seq);
	id = id_derive(parked->tenant, "release", name);
	e.id = accepted->id;
	e.tenant = accepted->tenant;
	e.channel = accepted->channel;
	e.type = accepted->type;
	e.key = accepted->key;
	e.data = (ProtobufCBinaryData){strlen(accepted->data), (uint8_t *)accepted->data};
	e.digest = accepted->digest;
	e.time_us = accepted->time_us;
	release.task = parked->channel + strlen("task.");
	release.seq = parked->seq;
	release.pipeline = (char *)"diamond";
	release.version = 1;
	release.accepted = &e;
	cmd.id = id.text;
	cmd.tenant = parked->tenant;
	cmd.body_case = PENSTOCK__COMMAND__BODY_RELEASE;
	cmd.release = &release;
	if (penstock__command__get_packed_size(&cmd) > sizeof(buf)) {
		cluster_fail(n->cluster, "a release is too long");
		return;
	}
	n->asking = true;
	n->asked_seq = parked->seq;
	bus_request(n->bus, subject.text, buf, penstock__command__pack(&cmd, buf), ASK_MS, answered,
		    n);
}

static void on_round(struct timer *timer, void *arg)
{
	struct node *n = arg;
	struct memdb *db = &n->cluster->db;
	const struct memdb_row *due = NULL;

	timer_set(n->cluster->loop, timer, ROUND_US);
	if (!n->asking && memdb_leads(n->sink))
		due = memdb_due(db, loop_wall_us(n->cluster->loop) / 1000);
	if (!due)
		return;
	if (accepted_of(db, due))
		ask(n, due, accepted_of(db, due));
	else
		cluster_fail(n->cluster, "%s was parked and never accepted", due->channel);
}

void slow_start(struct node *n)
{
	n->asking = false;
	timer_init(&n->slow, on_round, n);
	timer_set(n->cluster->loop, &n->slow, ROUND_US);
}

void slow_end(struct node *n)
{
	timer_cancel(n->cluster->loop, &n->slow);
}
