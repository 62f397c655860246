/* Outgoing webhooks in a real PostgreSQL: what goes from the log into which queue, what is handed
 * out, and what becomes of a hook by what is answered. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/pg.h"
#include "common/webhook.h"
#include "proto/hook.pb-c.h"
#include "services/event-store/hooks_pg.h"
#include "services/event-store/writer.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/event-store/database.h"

#define SECRET "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
#define OLD    "whsec_OTg3NjU0MzIxMDk4NzY1NDMyMTA5ODc2"
#define MAX    64

static struct database d;
static struct store_writer w;
static struct hook_delivery *taken; /* the newest first */

static void setup(void)
{
	struct error err = {0};
	database_open(&d, true);
	ck_assert_msg(!store_writer_open(&w, d.conn, TEST_EPOCH, &err), "%s", err.msg);
	database_do(&d, "INSERT INTO control.tenants (id, doc) VALUES"
			" ('acme', '{\"status\":\"active\"}'), ('b', '{\"status\":\"active\"}')");
	taken = NULL;
}

static void forget(void)
{
	while (taken) {
		struct hook_delivery *next = taken->next;
		free(taken->post);
		free(taken);
		taken = next;
	}
}

static void teardown(void)
{
	forget();
	store_writer_close(&w);
	database_close(&d);
}

/* Events from..to of the channel. */
static void put(uint64_t from, uint64_t to, const char *channel, const char *type)
{
	struct error err = {0};
	int64_t rows;
	for (uint64_t seq = from; seq <= to; seq++) {
		struct store_item item =
		    make_item(seq, make_event(seq, channel, type, "{\"n\": 1}", NULL));
		ck_assert_msg(!store_writer_write(&w, &item, 1, &rows, &err), "%s", err.msg);
		items_done(&item, 1);
	}
}

/* As the control-plane makes one that is at the log's beginning. */
static void hook(const char *id, const char *tenant, const char *channels, const char *types,
		 const char *retry)
{
	char sql[1024];
	snprintf(sql, sizeof(sql),
		 "INSERT INTO control.hooks (tenant, id, secret, doc) VALUES ('%s', '%s', '" SECRET
		 "', '{\"direction\":\"out\",\"url\":\"https://example.com/%s\",\"timeout_ms\":500,"
		 "\"disable_after_s\":60,\"retry\":{%s}}');"
		 "INSERT INTO hook_states (hook, tenant, channels, types, concurrent, epoch,"
		 " position) VALUES ('%s', '%s', '%s', '%s', 2, %llu, 0)",
		 tenant, id, id, retry, id, tenant, channels, types, TEST_EPOCH);
	database_do(&d, sql);
}

/* Full jitter under an hour is not over while a test runs; that of RETRY may be at once. */
#define SLOWLY "\"max_attempts\":3,\"initial_ms\":3600000,\"max_ms\":3600000"
#define RETRY  "\"max_attempts\":3,\"initial_ms\":10,\"max_ms\":20"

static bool scan(void)
{
	struct error err = {0};
	bool more;
	ck_assert_msg(!hooks_pg_scan(d.conn, &more, &err), "%s", err.msg);
	return more;
}

static size_t take(size_t max)
{
	struct error err = {0};
	size_t n;
	forget();
	ck_assert_msg(!hooks_pg_take(d.conn, max, INT64_C(1800000000) * 1000000, &taken, &n, &err),
		      "%s", err.msg);
	return n;
}

/* All that was taken has this answer; 0: none, the request was not made. True: a hook was disabled
 * by it. */
static bool answer(unsigned status, const char *error)
{
	struct error err = {0};
	bool any = false, disabled;
	for (struct hook_delivery *t = taken; t; t = t->next) {
		t->tried = status != 0;
		t->status = status;
		snprintf(t->error, sizeof(t->error), "%s", error);
		ck_assert_msg(!hooks_pg_note(d.conn, t, &disabled, &err), "%s", err.msg);
		any = any || disabled;
	}
	forget();
	return any;
}

/* What waits for a time, waits no more. */
static void later(void)
{
	database_do(&d, "UPDATE hook_deliveries SET due_at = now() - interval '1 s';"
			"UPDATE hook_states SET resume_at = NULL");
}

static const char *queues(void)
{
	return database_get(&d, "SELECT coalesce(string_agg(concat_ws(':', hook, seq, CASE WHEN "
				"dead THEN 'dead' END), ' ' ORDER BY hook, seq), '') FROM "
				"hook_deliveries");
}

static const char *state(const char *id)
{
	char sql[256];
	snprintf(sql, sizeof(sql),
		 "SELECT concat_ws(' ', enabled, nullif(reason, ''), 'delivered', delivered,"
		 " 'failures', failures, 'expired', expired) FROM hook_states WHERE hook = '%s'",
		 id);
	return database_get(&d, sql);
}

START_TEST(what_matches_goes_into_the_queues)
{
	struct error err = {0};
	bool any;
	ck_assert(!hooks_pg_any(d.conn, &any, &err) && !any);
	hook("rooms", "acme", "^(?:room[.][^.]*)$", "^(?:.*)$", RETRY);
	hook("chats", "acme", "^(?:.*)$", "^(?:chat[.].*)$", RETRY);
	hook("others", "b", "^(?:.*)$", "^(?:.*)$", RETRY);
	ck_assert(!hooks_pg_any(d.conn, &any, &err) && any);
	put(1, 2, "room.1", "chat.message");
	put(3, 3, "room.1", "note");
	put(4, 4, "hall", "chat.message");
	put(5, 5, "room.1.x", "note");
	ck_assert(!scan());
	ck_assert_str_eq(queues(), "chats:1 chats:2 chats:4 rooms:1 rooms:2 rooms:3");
	ck_assert(!scan()); /* nothing twice */
	ck_assert_str_eq(database_get(&d, "SELECT count(*) FROM hook_deliveries"), "6");
	ck_assert_str_eq(database_get(&d, "SELECT min(position) FROM hook_states"), "5");
	/* A disabled one stays at its place. */
	database_do(&d, "UPDATE hook_states SET enabled = false WHERE hook = 'rooms'");
	put(6, 6, "room.1", "chat.message");
	scan();
	ck_assert_str_eq(queues(), "chats:1 chats:2 chats:4 chats:6 rooms:1 rooms:2 rooms:3");
	database_do(&d, "UPDATE hook_states SET enabled = true WHERE hook = 'rooms'");
	scan();
	ck_assert_str_eq(database_get(&d, "SELECT count(*) FROM hook_deliveries WHERE seq = 6"),
			 "2");
}
END_TEST

START_TEST(a_full_queue_waits_in_the_log)
{
	hook("h", "acme", "^(?:.*)$", "^(?:.*)$", RETRY);
	put(1, 1, "room.1", "note");
	database_do(&d, "INSERT INTO hook_deliveries (hook, epoch, seq, time) SELECT 'h', 1, n,"
			" now() FROM generate_series(1, 1000) n");
	ck_assert(!scan());
	ck_assert_str_eq(database_get(&d, "SELECT position FROM hook_states"), "0");
	database_do(&d, "DELETE FROM hook_deliveries WHERE epoch = 1 AND seq = 7");
	scan();
	ck_assert_str_eq(database_get(&d, "SELECT position FROM hook_states"), "1");
	ck_assert_str_eq(database_get(&d, "SELECT count(*) FROM hook_deliveries"), "1000");
}
END_TEST

static const char *header(const Penstock__HookPost *m, const char *name)
{
	for (size_t i = 0; i < m->n_headers; i++)
		if (!strncmp(m->headers[i], name, strlen(name)))
			return m->headers[i] + strlen(name) + 2;
	return NULL;
}

START_TEST(handed_out_signed)
{
	char want[512], one[WEBHOOK_SIGNED_LEN + 1], two[WEBHOOK_SIGNED_LEN + 1];
	hook("h", "acme", "^(?:.*)$", "^(?:.*)$", RETRY);
	database_do(&d, "UPDATE control.hooks SET previous_secret = '" OLD
			"', previous_until = now() + interval '1 hour'");
	put(1, 1, "room.1", "note");
	scan();
	ck_assert_uint_eq(take(MAX), 1);
	Penstock__HookPost *m = penstock__hook_post__unpack(NULL, taken->len, taken->post);
	ck_assert_ptr_nonnull(m);
	ck_assert_str_eq(m->url, "https://example.com/h");
	ck_assert_uint_eq(m->timeout_ms, 500);
	ck_assert(!m->allow_private);
	ck_assert_str_eq(header(m, "webhook-id"), nth_id(1).text);
	ck_assert_str_eq(header(m, "webhook-timestamp"), "1800000000");
	ck_assert_str_eq(header(m, "traceparent"), TEST_TRACE);
	ck_assert_ptr_null(header(m, "penstock-replay"));
	snprintf(want, sizeof(want),
		 "{\"type\":\"note\",\"timestamp\":\"2025-11-24T16:01:40.001001Z\","
		 "\"channel\":\"room.1\",\"version\":2,\"offset\":1,\"event_id\":\"%s\","
		 "\"data\":{\"n\": 1}}",
		 nth_id(1).text);
	ck_assert_uint_eq(m->body.len, strlen(want));
	ck_assert(!memcmp(m->body.data, want, m->body.len));
	struct webhook_message message = {
	    .id = nth_id(1).text, .timestamp = "1800000000", .body = want, .len = strlen(want)};
	ck_assert(webhook_sign(SECRET, &message, one) && webhook_sign(OLD, &message, two));
	snprintf(want, sizeof(want), "%s %s", one, two);
	ck_assert_str_eq(header(m, "webhook-signature"), want);
	penstock__hook_post__free_unpacked(m, NULL);
	/* In hand: nobody else gets it, until it is given up, or another event-store leads. */
	ck_assert_uint_eq(take(MAX), 0);
	struct error err = {0};
	ck_assert(!hooks_pg_take_over(d.conn, &err));
	ck_assert_uint_eq(take(MAX), 1);
}
END_TEST

/* Each hook has its own places, and the firsts of all hooks come before the seconds of any. */
START_TEST(handed_out_in_turns)
{
	hook("a", "acme", "^(?:.*)$", "^(?:.*)$", RETRY);
	hook("b", "acme", "^(?:.*)$", "^(?:.*)$", RETRY);
	put(1, 5, "room.1", "note");
	scan();
	ck_assert_uint_eq(take(2), 2);
	ck_assert_str_ne(taken->hook, taken->next->hook);
	ck_assert_str_eq(taken->seq, "1");
	ck_assert_uint_eq(take(MAX), 2); /* two at once, of each */
	ck_assert_uint_eq(take(MAX), 0);
	database_do(&d, "UPDATE hook_deliveries SET sending = false");
	database_do(&d, "UPDATE control.tenants SET doc = '{\"status\":\"suspended\"}'");
	ck_assert_uint_eq(take(MAX), 0);
}
END_TEST

START_TEST(what_was_answered)
{
	hook("h", "acme", "^(?:.*)$", "^(?:.*)$", SLOWLY);
	put(1, 1, "room.1", "note");
	scan();
	take(MAX);
	ck_assert(!answer(0, "")); /* nobody answered: no attempt */
	ck_assert_str_eq(state("h"), "t delivered 0 failures 0 expired 0");
	ck_assert_str_eq(database_get(&d, "SELECT attempts FROM hook_deliveries"), "0");
	later();
	take(MAX);
	ck_assert(!answer(500, "HTTP 500"));
	ck_assert_str_eq(state("h"), "t delivered 0 failures 1 expired 0");
	ck_assert_uint_eq(take(MAX), 0); /* it waits */
	put(2, 3, "room.1", "note");
	scan();
	later();
	ck_assert_uint_eq(take(MAX), 1); /* one at a time, of a hook that fails */
	ck_assert(!answer(204, "HTTP 204"));
	ck_assert_str_eq(state("h"), "t delivered 1 failures 0 expired 0");
	ck_assert_uint_eq(take(MAX), 2);
	ck_assert(!answer(200, "HTTP 200"));
	ck_assert_str_eq(queues(), "");
	/* One whose event is not kept any more. */
	put(4, 4, "room.1", "note");
	scan();
	database_do(&d, "DELETE FROM events WHERE seq = 4");
	ck_assert_uint_eq(take(MAX), 0);
	ck_assert_str_eq(state("h"), "t delivered 3 failures 0 expired 1");
	ck_assert_str_eq(queues(), "");
}
END_TEST

START_TEST(a_retry_after_is_a_floor)
{
	struct error err = {0};
	bool disabled;
	hook("h", "acme", "^(?:.*)$", "^(?:.*)$", RETRY);
	put(1, 1, "room.1", "note");
	scan();
	take(MAX);
	taken->tried = true;
	taken->status = 429;
	taken->retry_after_ms = 3600000;
	ck_assert(!hooks_pg_note(d.conn, taken, &disabled, &err) && !disabled);
	ck_assert_str_eq(database_get(&d, "SELECT due_at BETWEEN now() + interval '59 minutes' AND "
					  "now() + interval '67 minutes' FROM hook_deliveries"),
			 "t");
	ck_assert_str_eq(database_get(&d, "SELECT resume_at > now() + interval '59 minutes' FROM "
					  "hook_states"),
			 "t");
}
END_TEST

/* Its attempts are used up: it waits for an operator, and the others go on. */
START_TEST(a_dead_delivery)
{
	hook("h", "acme", "^(?:.*)$", "^(?:.*)$", RETRY);
	put(1, 1, "room.1", "note");
	scan();
	for (int i = 0; i < 3; i++) {
		later();
		ck_assert_uint_eq(take(MAX), 1);
		ck_assert(!answer(500, "HTTP 500"));
	}
	ck_assert_str_eq(queues(), "h:1:dead");
	later();
	ck_assert_uint_eq(take(MAX), 0);
	put(2, 2, "room.1", "note");
	scan();
	ck_assert_uint_eq(take(MAX), 1);
}
END_TEST

static const char *audited(void)
{
	return database_get(&d, "SELECT coalesce(string_agg(concat_ws(' ', action, actor, resource,"
				" reason), ',' ORDER BY id), '') FROM control.audit");
}

START_TEST(gone_disables_at_once_and_is_told)
{
	struct error err = {0};
	struct hook_ended e;
	hook("h", "acme", "^(?:.*)$", "^(?:.*)$", RETRY);
	put(1, 1, "room.1", "note");
	scan();
	ck_assert(!hooks_pg_untold(d.conn, &e, &err) && !e.data);
	take(MAX);
	ck_assert(answer(410, "HTTP 410"));
	ck_assert_str_eq(state("h"), "f gone delivered 0 failures 1 expired 0");
	ck_assert_str_eq(audited(), "hook.disable event-store tenants/acme/hooks/h gone");
	ck_assert(!hooks_pg_untold(d.conn, &e, &err) && e.data);
	ck_assert_str_eq(e.hook, "h");
	ck_assert_str_eq(e.tenant, "acme");
	ck_assert_int_eq(e.times, 1);
	ck_assert_ptr_nonnull(strstr(e.data, "\"reason\" : \"gone\""));
	ck_assert_ptr_nonnull(strstr(e.data, "\"last_status\" : 410"));
	ck_assert(!hooks_pg_told(d.conn, &e, &err));
	free(e.data);
	ck_assert(!hooks_pg_untold(d.conn, &e, &err) && !e.data);
	later();
	ck_assert_uint_eq(take(MAX), 0); /* what waits stays */
	ck_assert_str_eq(queues(), "h:1");
}
END_TEST

START_TEST(failing_for_long_disables)
{
	hook("h", "acme", "^(?:.*)$", "^(?:.*)$", RETRY);
	put(1, 6, "room.1", "note");
	scan();
	for (int i = 0; i < 4; i++) { /* it takes five in succession, however long that took */
		database_do(&d, "UPDATE hook_states SET failing_since = now() - interval '1 hour'");
		later();
		ck_assert_uint_eq(take(1), 1);
		ck_assert(!answer(500, "HTTP 500"));
	}
	database_do(&d, "UPDATE hook_states SET failing_since = now() - interval '10 s'");
	later();
	take(1);
	ck_assert(!answer(500, "HTTP 500")); /* not for long enough */
	database_do(&d, "UPDATE hook_states SET failing_since = now() - interval '61 s'");
	later();
	take(1);
	ck_assert(answer(500, "HTTP 500"));
	ck_assert_str_eq(state("h"), "f failing delivered 0 failures 6 expired 0");
}
END_TEST

START_TEST(too_many_dead_deliveries_disable)
{
	hook("h", "acme", "^(?:.*)$", "^(?:.*)$", RETRY);
	put(1, 1, "room.1", "note");
	scan();
	database_do(&d, "INSERT INTO hook_deliveries (hook, epoch, seq, time, dead) SELECT 'h', 1,"
			" n, now(), true FROM generate_series(1, 1000) n");
	take(MAX);
	ck_assert(answer(500, "HTTP 500"));
	ck_assert_str_eq(state("h"), "f dead_letters delivered 0 failures 1 expired 0");
}
END_TEST

/* Into the queue at its rate, marked, beside the same event of the log. */
START_TEST(a_replay)
{
	struct error err = {0};
	hook("h", "acme", "^(?:.*)$", "^(?:.*)$", RETRY);
	put(1, 4, "room.1", "note");
	scan();
	database_do(&d, "UPDATE hook_states SET concurrent = 8");
	take(MAX);
	answer(200, "");
	char sql[512];
	database_clock(&d, "2100-01-01 00:00:00");
	snprintf(sql, sizeof(sql),
		 "INSERT INTO replays (id, actor, tenant, channel, target, hook, epoch, after_seq,"
		 " until_seq, position, per_s, mark_at) VALUES"
		 " ('00000000-0000-4000-8000-000000000001', 'op', 'acme', 'room.1', 'room.1', 'h',"
		 " %llu, 1, 4, 1, 2, now() - interval '1 hour')",
		 TEST_EPOCH);
	database_do(&d, sql);
	ck_assert_msg(!hooks_pg_replay(d.conn, &err), "%s", err.msg);
	ck_assert_str_eq(queues(), "h:2 h:3");
	ck_assert_str_eq(database_get(&d, "SELECT concat_ws(' ', position, sent) FROM replays"),
			 "3 2");
	ck_assert(!hooks_pg_replay(d.conn, &err));
	ck_assert_str_eq(queues(), "h:2 h:3"); /* its rate */
	ck_assert_uint_eq(take(MAX), 2);
	Penstock__HookPost *m = penstock__hook_post__unpack(NULL, taken->len, taken->post);
	ck_assert_str_eq(header(m, "penstock-replay"), "00000000-0000-4000-8000-000000000001");
	penstock__hook_post__free_unpacked(m, NULL);
}
END_TEST

RUN_TESTS_WITH("hooks", setup, teardown, what_matches_goes_into_the_queues,
	       a_full_queue_waits_in_the_log, handed_out_signed, handed_out_in_turns,
	       what_was_answered, a_retry_after_is_a_floor, a_dead_delivery,
	       gone_disables_at_once_and_is_told, failing_for_long_disables,
	       too_many_dead_deliveries_disable, a_replay)
