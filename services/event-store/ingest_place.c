/* Taking the lead and losing it. */
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/names.h"
#include "services/event-store/ingest_impl.h"
#include "services/event-store/item.h"

/* --- taking the lead and losing it --------------------------------------------------------------
 */

/* The event-stores once shared a durable consumer. Nobody reads it any more; if it could not be
 * removed, the next one that leads tries again. */
static void on_old_removed(void *arg, enum bus_result result)
{
	(void)arg;
	if (result == BUS_OK)
		log_at(LOG_INFO, "the durable consumer of earlier event-stores is removed");
}

static void placed(struct ingest *in, uint64_t first_seq)
{
	in->next = in->position + 1 > first_seq ? in->position + 1 : first_seq;
	in->placed = true;
	in->broken = false;
	in->failures = 0;
	ingest_read(in);
	ingest_ask(in);
	ingest_tell(in);
	bus_consumer_remove(in->bus, STREAM_EVENTS, "store", on_old_removed, in);
}

void ingest_unplace(struct ingest *in)
{
	in->placed = false;
	ingest_read_end(in);
	ingest_let_go(in, in->ready.n);
}

/* A broker that came back without its newest messages gives their sequences to others. Taking those
 * for stored would lose them, storing them would mix up the channels' offsets: a person must
 * decide. */
static void broken(struct ingest *in, const char *why)
{
	if (!in->broken)
		log_at(LOG_ERROR, "EVENTS is not the stream that was stored; nothing is ingested",
		       LOG_S("why", why), LOG_I("stored", in->position));
	in->broken = true;
	timer_set(in->loop, &in->again, INGEST_RETRY_MAX_US);
	ingest_tell(in);
}

/* The message at the position: is it the one that was stored there? */
static void on_last_stored(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct ingest *in = arg;
	struct store_item item;

	in->placing = false;
	if (in->standing != STORE_LEADING || in->placed || in->stopping)
		return;
	if (result != BUS_OK) {
		timer_set(in->loop, &in->again, INGEST_RETRY_FIRST_US);
		return;
	}
	store_item_init(&item, msg);
	bool same = !in->position_id[0] || !item.event || !strcmp(item.event->id, in->position_id);
	store_item_done(&item);
	if (same)
		placed(in, in->first_seq);
	else
		broken(in, "another event is at the last stored place");
}

static void on_info(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct ingest *in = arg;

	in->placing = false;
	if (in->standing != STORE_LEADING || in->placed || in->stopping)
		return;
	in->anew = result == BUS_NOT_FOUND || (result == BUS_OK && info->created_us &&
					       (uint64_t)info->created_us != in->conf.epoch);
	if (in->anew) {
		broken(in, "it was made anew or is gone");
	} else if (result != BUS_OK) {
		timer_set(in->loop, &in->again, INGEST_RETRY_FIRST_US);
	} else if (in->position > info->last_seq) {
		broken(in, "it ends before what is stored");
	} else if (in->position < info->first_seq || !in->position) {
		placed(in, info->first_seq);
	} else {
		in->placing = true;
		in->first_seq = info->first_seq;
		bus_get(in->bus, STREAM_EVENTS, in->position, on_last_stored, in);
	}
}

void ingest_place(struct ingest *in)
{
	if (in->placing)
		return;
	if (in->writing.n) { /* its end moves the position */
		timer_set(in->loop, &in->again, INGEST_RETRY_FIRST_US);
		return;
	}
	in->placing = true;
	bus_stream_info(in->bus, STREAM_EVENTS, NULL, on_info, in);
}

void ingest_on_standing(void *arg, enum store_standing standing, uint64_t position,
			const char *event_id)
{
	struct ingest *in = arg;

	if (in->closed)
		return;
	in->standing = standing;
	ingest_unplace(in);
	if (standing == STORE_LEADING) {
		in->position = position;
		snprintf(in->position_id, sizeof(in->position_id), "%s", event_id);
		ingest_place(in);
	} else if (standing == STORE_STANDBY) {
		in->position = 0;
	}
	ingest_ask(in);
	ingest_tell(in);
}
