/* What the event-store takes from the bus: messages of EVENTS, through the item and the projection;
 * requests on pen.store.*, through the service's real way of reading them.
 *
 * The first byte says which. */
/* links: services/event-store */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/names.h"
#include "services/event-store/item.h"
#include "services/event-store/project.h"
#include "services/event-store/query_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One task that all inputs tell something of. */
static struct project_task task;
static uint64_t seq;

static void fold(const Penstock__Event *e)
{
	struct project_event pe = {.epoch = 1,
				   .seq = ++seq,
				   .time_us = e->time_us,
				   .tenant = e->tenant,
				   .channel = e->channel,
				   .type = e->type,
				   .data = e->data.data,
				   .len = e->data.len};

	if (!project_is_transition(e->channel, e->type))
		return;
	(void)project_apply(&task, &pe);
	assert(!project_apply(&task, &pe)); /* twice is once */
	json_decref(project_json(&task));
	json_decref(project_spans(&task));
	if (project_final(task.state) && seq % 8 == 0)
		project_done(&task);
}

static void event(const uint8_t *data, size_t size)
{
	struct subject subject =
	    subject_evt(part_of("acme", 16), "acme", "task.0197a000-0000-4000-8000-000000000001");
	struct bus_msg msg = {
	    .subject = subject.text, .stream = STREAM_EVENTS, .data = data, .len = size, .seq = 7};
	struct store_item item;

	store_item_init(&item, &msg);
	if (item.event)
		fold(item.event);
	store_item_done(&item);
	/* The bytes as the data of a transition. */
	static const char *const types[] = {
	    "task.accepted",     "task.started",   "task.stage.started", "task.stage.completed",
	    "task.stage.failed", "task.completed", "task.failed",        "task.parked"};
	Penstock__Event e = PENSTOCK__EVENT__INIT;
	e.tenant = "acme";
	e.channel = "task.0197a000-0000-4000-8000-000000000001";
	e.type = (char *)types[size ? data[0] % 8 : 0];
	e.data.data = (uint8_t *)data + (size ? 1 : 0);
	e.data.len = size ? size - 1 : 0;
	fold(&e);
}

static void request(const uint8_t *data, size_t size)
{
	struct bus_msg msg = {.subject = "pen.store", .reply = "r", .data = data, .len = size};

	for (int kind = 0; kind < N_QUERY_KINDS; kind++) {
		struct query *q = calloc(1, sizeof(*q));
		const char *fault;

		q->kind = (enum query_kind)kind;
		fault = store_query_read(q, &msg);
		if (!fault) {
			assert(q->tenant && q->id);
			assert(kind != QUERY_REPLAY || name_valid_channel(q->id));
			assert(kind != QUERY_REPLAY || (q->limit && q->limit <= STORE_PAGE_MAX));
			assert(strlen(q->id) <= KEY_MAX + CHANNEL_MAX);
		}
		store_query_free_one(q);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (*data & 1)
		event(data + 1, size - 1);
	else
		request(data + 1, size - 1);
	return 0;
}
