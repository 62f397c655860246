/* Names, subjects, partitions. */
#include <stdio.h>
#include <string.h>

#include "common/names.h"
#include "suite.h"

static char *repeat(char *out, char c, size_t n)
{
	memset(out, c, n);
	out[n] = '\0';
	return out;
}

START_TEST(tenant_names)
{
	char text[TENANT_MAX + 2];

	ck_assert(name_valid_tenant("a"));
	ck_assert(name_valid_tenant("Acme_9-x"));
	ck_assert(name_valid_tenant(repeat(text, 't', TENANT_MAX)));
	ck_assert(!name_valid_tenant(repeat(text, 't', TENANT_MAX + 1)));
	ck_assert(!name_valid_tenant(NULL));
	ck_assert(!name_valid_tenant(""));
	ck_assert(!name_valid_tenant("a.b"));
	ck_assert(!name_valid_tenant("a:b"));
	ck_assert(!name_valid_tenant("a b"));
	ck_assert(!name_valid_tenant("*"));
	ck_assert(!name_valid_tenant(">"));
	ck_assert(!name_valid_tenant("gr\xc3\xbcn"));
}
END_TEST

START_TEST(channel_names)
{
	char text[CHANNEL_MAX + 2];

	ck_assert(name_valid_channel("room.7"));
	ck_assert(name_valid_channel("a:b_c-d.e.f"));
	ck_assert(name_valid_channel(repeat(text, 'c', CHANNEL_MAX)));
	ck_assert(!name_valid_channel(repeat(text, 'c', CHANNEL_MAX + 1)));
	ck_assert(!name_valid_channel(NULL));
	ck_assert(!name_valid_channel(""));
	ck_assert(!name_valid_channel("."));
	ck_assert(!name_valid_channel(".a"));
	ck_assert(!name_valid_channel("a."));
	ck_assert(!name_valid_channel("a..b"));
	ck_assert(!name_valid_channel("a.*"));
	ck_assert(!name_valid_channel("a.>"));
	ck_assert(!name_valid_channel("a b"));
	ck_assert(!name_valid_channel("a\n"));
	ck_assert(!name_valid_channel("a\x80"));
}
END_TEST

START_TEST(keys)
{
	char text[KEY_MAX + 2];

	ck_assert(name_valid_key("k"));
	ck_assert(name_valid_key("order #1 ~"));
	ck_assert(name_valid_key(repeat(text, 'k', KEY_MAX)));
	ck_assert(!name_valid_key(repeat(text, 'k', KEY_MAX + 1)));
	ck_assert(!name_valid_key(NULL));
	ck_assert(!name_valid_key(""));
	ck_assert(!name_valid_key("tab\t"));
	ck_assert(!name_valid_key("del\x7f"));
	ck_assert(!name_valid_key("gr\xc3\xbcn"));
}
END_TEST

START_TEST(reserved_names)
{
	ck_assert(name_reserved_channel("task.123"));
	ck_assert(name_task_channel("task.123"));
	ck_assert(name_reserved_channel("hook.123"));
	ck_assert(!name_task_channel("hook.123"));
	ck_assert(!name_reserved_channel("hook"));
	ck_assert(!name_reserved_channel("hooks.1"));
	ck_assert(!name_reserved_channel("task"));
	ck_assert(!name_reserved_channel("tasks.1"));
	ck_assert(!name_reserved_channel("room.task.1"));
	ck_assert(name_reserved_type("task.completed"));
	ck_assert(!name_reserved_type("taskcompleted"));
}
END_TEST

/* A part that moved would tear a cluster's tenants from their past: these numbers never change. */
START_TEST(parts_are_fixed_for_ever)
{
	ck_assert_uint_eq(part_of("acme", 16), 1);
	ck_assert_uint_eq(part_of("demo", 16), 0);
	ck_assert_uint_eq(part_of("demo", 1024), 816);
	ck_assert_uint_eq(part_of("anything", 1), 0);
}
END_TEST

START_TEST(parts_are_spread)
{
	int count[16] = {0};
	char tenant[16];

	for (int i = 0; i < 1600; i++) {
		snprintf(tenant, sizeof(tenant), "tenant-%d", i);
		count[part_of(tenant, 16)]++;
	}
	for (int i = 0; i < 16; i++)
		ck_assert(count[i] > 50 && count[i] < 150);
}
END_TEST

START_TEST(subjects_are_those_of_the_document)
{
	ck_assert_str_eq(subject_cmd(0).text, "pen.cmd.0");
	ck_assert_str_eq(subject_cmd(1023).text, "pen.cmd.1023");
	ck_assert_str_eq(subject_evt(7, "acme", "room.7").text, "pen.evt.7.acme.room.7");
	ck_assert_str_eq(subject_dlt(7, "acme", "task.x").text, "pen.dlt.7.acme.task.x");
	ck_assert_str_eq(subject_live(15, "acme", "a:b").text, "pen.live.15.acme.a:b");
	ck_assert_str_eq(subject_task("default", "acme").text, "pen.task.default.acme");
	ck_assert_str_eq(subject_wait(3, "acme", POOL_DEFAULT).text, "pen.wait.3.acme");
	ck_assert_str_eq(subject_wait(3, "acme", POOL_BATCH).text, "pen.wait.3.acme.batch");
	ck_assert_str_eq(subject_end(3).text, "pen.ctl.end.3");
	ck_assert_str_eq(subject_owner(3).text, "pen.ctl.owner.3");
}
END_TEST

START_TEST(longest_subject_fits)
{
	char tenant[TENANT_MAX + 1], channel[CHANNEL_MAX + 1], too_long[1000];
	char t[TENANT_MAX + 1], c[CHANNEL_MAX + 1];
	struct subject s;
	unsigned part;

	s = subject_live(1023, repeat(tenant, 't', TENANT_MAX), repeat(channel, 'c', CHANNEL_MAX));
	ck_assert(subject_parse(s.text, &part, t, c));
	ck_assert_uint_eq(part, 1023);
	ck_assert_str_eq(t, tenant);
	ck_assert_str_eq(c, channel);
	/* Not a valid name, yet no overflow. */
	s = subject_evt(1, repeat(too_long, 'x', 999), "y");
	ck_assert_uint_eq(strlen(s.text), SUBJECT_MAX - 1);
	ck_assert(!subject_parse(s.text, &part, t, c));
}
END_TEST

START_TEST(subjects_are_parsed)
{
	static const char *const bad[] = {
	    "",
	    "pen",
	    "pen.",
	    "pen.evt",
	    "pen.evt.1",
	    "pen.evt.1.acme",
	    "pen.evt.1.acme.",
	    "pen.evt.1..x",
	    "pen.evt..acme.x",
	    "pen.evt.x.acme.y",
	    "pen..1.acme.x",
	    "pan.evt.1.acme.x",
	    "pen.evt.1024.a.x",
	    "pen.evt.99999999999999999999.a.x",
	    "pen.evt.1.ac:me.x",
	    "pen.evt.1.acme.x..y",
	    "pen.evt.-1.acme.x",
	    "pen.EVT.1.acme.x",
	    "pen.evt.1.acme.*",
	};
	char t[TENANT_MAX + 1], c[CHANNEL_MAX + 1];
	unsigned part = 99;

	ck_assert(subject_parse("pen.evt.15.acme.task.a.b", &part, t, c));
	ck_assert_uint_eq(part, 15);
	ck_assert_str_eq(t, "acme");
	ck_assert_str_eq(c, "task.a.b");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(!subject_parse(bad[i], &part, t, c), "accepted: %s", bad[i]);
}
END_TEST

START_TEST(channels_of_tasks)
{
	char channel[CHANNEL_MAX + 1], many[500];

	task_channel("018bcfe5-68ff-7abc-8def-0123456789ab", channel);
	ck_assert_str_eq(channel, "task.018bcfe5-68ff-7abc-8def-0123456789ab");
	ck_assert(name_valid_channel(channel) && name_reserved_channel(channel));
	task_channel(repeat(many, 'x', 499), channel);
	ck_assert_uint_eq(strlen(channel), CHANNEL_MAX);
}
END_TEST

RUN_TESTS("names", tenant_names, channel_names, keys, reserved_names, parts_are_fixed_for_ever,
	  parts_are_spread, subjects_are_those_of_the_document, longest_subject_fits,
	  subjects_are_parsed, channels_of_tasks)
