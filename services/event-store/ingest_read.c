/* Taking in what comes of the stream. */
#include <assert.h>

#include "common/log.h"
#include "common/names.h"
#include "services/event-store/ingest_impl.h"
#include "services/event-store/item.h"

static void deliver(void *arg, const struct bus_msg *msg, struct bus_claim *claim)
{
	struct ingest *in = arg;
	struct store_item item;

	(void)claim;
	if (msg->seq != in->next)
		log_at(LOG_ERROR, "messages of EVENTS are gone", LOG_I("seq", in->next),
		       LOG_I("n", msg->seq - in->next));
	store_item_init(&item, msg);
	in->held_bytes += item.cost;
	in->typical -= in->typical / 64;
	if (in->typical < item.cost)
		in->typical = item.cost;
	store_queue_push(&in->ready, &item);
	in->next = item.seq + 1;
}

void ingest_read(struct ingest *in)
{
	const struct bus_consumer_conf conf = {.stream = STREAM_EVENTS, .from = in->next};
	struct error ignored;

	in->consumer = bus_consumer_open(in->bus, &conf, deliver, in, &ignored);
	assert(in->consumer); /* there is nothing in it that could be refused */
	in->watched = in->overdue = 0;
	timer_set(in->loop, &in->watch, INGEST_WATCH_US);
}

void ingest_read_end(struct ingest *in)
{
	bus_consumer_close(in->consumer);
	in->consumer = NULL;
	timer_cancel(in->loop, &in->watch);
}

/* A message that is just stored may be on its way: only what two looks found is overdue. */
static void on_look(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct ingest *in = arg;
	bool there = result == BUS_OK && info->last_seq >= in->next;

	in->looking = false;
	if (!in->placed || in->stopping)
		return;
	if (there && in->overdue == in->next) {
		metric_add(in->m_rereads, 1);
		log_at(LOG_WARN, "EVENTS has what does not come; reading it anew",
		       LOG_I("seq", in->next), LOG_I("last", info->last_seq));
		ingest_recheck(in);
		return;
	}
	in->overdue = there ? in->next : 0;
}

/* What is lost with nothing behind it, nobody misses: then the stream itself is asked. */
void ingest_on_watch(struct timer *timer, void *arg)
{
	struct ingest *in = arg;

	timer_set(in->loop, timer, INGEST_WATCH_US);
	if (in->watched == in->next && !in->looking && in->ready.n < in->conf.batch_max &&
	    in->held_bytes < in->conf.bytes_max) {
		in->looking = true;
		bus_stream_info(in->bus, STREAM_EVENTS, NULL, on_look, in);
	}
	in->watched = in->next;
}
