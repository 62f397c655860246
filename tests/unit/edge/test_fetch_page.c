/* A page of the event-store beside the stream: what each of the two keeps is delivered, what
 * neither keeps is told. */
#include "common/strbuf.h"
#include "proto/store.pb-c.h"
#include "services/edge/frames.h"
#include "services/edge/hub_int.h"
#include "tests/unit/common/suite.h"

#define EPOCH 7

static struct hub hub;
static struct fetch_request f;

/* One that wants all behind `after`, where the stream begins at first_seq. */
static void wants(uint64_t after, uint64_t first_seq)
{
	f = (struct fetch_request){.base.hub = &hub,
				   .tenant = "acme",
				   .channel = "room.7",
				   .after = after,
				   .pos = after,
				   .first_seq = first_seq,
				   .limit = 10};
}

/* The store keeps from kept_from to position, and has an event at each of the offsets. */
static void takes(uint64_t kept_from, uint64_t position, const uint64_t *offsets, size_t n)
{
	Penstock__ReplayReply page = PENSTOCK__REPLAY_REPLY__INIT;
	Penstock__StoredEvent items[8], *list[8];
	Penstock__Event event = PENSTOCK__EVENT__INIT;
	uint8_t packed[2048];

	event.id = (char *)"018bcfe5-74aa-7d50-9c65-1601bada9b72";
	event.tenant = f.tenant;
	event.channel = f.channel;
	event.type = (char *)"note";
	event.data = (ProtobufCBinaryData){1, (uint8_t *)"1"};
	for (size_t i = 0; i < n; i++) {
		penstock__stored_event__init(&items[i]);
		items[i].offset = offsets[i];
		items[i].prev = i ? offsets[i - 1] : 0;
		items[i].event = &event;
		list[i] = &items[i];
	}
	page.epoch = EPOCH;
	page.stored = true;
	page.kept_from = kept_from;
	page.position = position;
	page.events = list;
	page.n_events = n;
	ck_assert_uint_le(penstock__replay_reply__get_packed_size(&page), sizeof(packed));
	ck_assert(fetch_take_page(&f, packed, penstock__replay_reply__pack(&page, packed), EPOCH));
}

/* It had these, and goes on in the stream behind `pos`. */
static void has(const uint64_t *offsets, unsigned n, uint64_t pos)
{
	ck_assert_uint_eq(f.n, n);
	for (unsigned i = 0; i < n; i++) {
		ck_assert_uint_eq(f.frames[i]->offset, offsets[i]);
		frame_unref(f.frames[i]);
	}
	ck_assert_uint_eq(f.pos, pos);
	ck_assert(!f.more);
	strbuf_done(&hub.text.b);
}

START_TEST(the_store_keeps_more)
{
	const uint64_t offsets[] = {12, 15};

	wants(10, 40);
	takes(1, 50, offsets, 2);
	ck_assert_uint_eq(f.lost_to, 0);
	has(offsets, 2, 15);
}
END_TEST

START_TEST(nobody_keeps_what_is_between)
{
	const uint64_t offsets[] = {32, 35};

	wants(10, 40);
	takes(30, 50, offsets, 2);
	ck_assert_uint_eq(f.lost_to, 29);
	has(offsets, 2, 35);
}
END_TEST

/* Its events are behind others that only the stream has. */
START_TEST(the_stream_keeps_more)
{
	const uint64_t offsets[] = {62, 65};

	wants(10, 5);
	takes(60, 70, offsets, 2);
	ck_assert_uint_eq(f.lost_to, 0);
	has(NULL, 0, 10);
}
END_TEST

START_TEST(the_stream_keeps_more_and_neither_keeps_all)
{
	const uint64_t offsets[] = {62, 65};

	wants(10, 40);
	takes(60, 70, offsets, 2);
	ck_assert_uint_eq(f.lost_to, 39);
	has(NULL, 0, 39);
}
END_TEST

RUN_TESTS("edge: pages of the log", the_store_keeps_more, nobody_keeps_what_is_between,
	  the_stream_keeps_more, the_stream_keeps_more_and_neither_keeps_all)
