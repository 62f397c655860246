/* Cron expressions: what is read, and when it is due, also where clocks jump. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/cron.h"
#include "common/ids.h"
#include "suite.h"

#define T(h, m) (((h)*INT64_C(60) + (m)) * 60)

static const char *local_after(const char *text, int64_t local)
{
	static char out[TIME_LEN + 1];
	struct error err = {0};
	struct cron cron;
	ck_assert_msg(!cron_parse(text, &cron, &err), "%s: %s", text, err.msg);
	time_format(cron_next_local(&cron, local) * 1000000, out);
	out[16] = '\0';
	return out;
}

/* 1764000000 is 2025-11-24 16:00:00, a Monday. */
START_TEST(when)
{
	static const struct {
		const char *text, *due;
	} t[] = {
	    {"* * * * *", "2025-11-24T16:01"},       {"*/15 * * * *", "2025-11-24T16:15"},
	    {"0 * * * *", "2025-11-24T17:00"},       {"0 16 * * *", "2025-11-25T16:00"},
	    {"5,1-3 16 * * *", "2025-11-24T16:01"},  {"10-40/20 15-17 * * *", "2025-11-24T16:10"},
	    {"0 9 * * tue", "2025-11-25T09:00"},     {"0 9 * * MON-FRI", "2025-11-25T09:00"},
	    {"0 9 * * 7", "2025-11-30T09:00"},       {"0 9 * * 0", "2025-11-30T09:00"},
	    {"0 9 * * 5-7", "2025-11-28T09:00"},     {"0 0 1 jan,Jun *", "2026-01-01T00:00"},
	    {"0 0 29 2 *", "2028-02-29T00:00"},      {"0 0 31 * *", "2025-12-31T00:00"},
	    {"0 0 13 * fri", "2025-11-28T00:00"},   /* either */
	    {"0 0 */31 * fri", "2026-05-01T00:00"}, /* both: a day that begins with * restricts
						       nothing */
	    {"\t0  0 1 *  *  ", "2025-12-01T00:00"}, {"@hourly", "2025-11-24T17:00"},
	    {"@daily", "2025-11-25T00:00"},          {"@midnight", "2025-11-25T00:00"},
	    {"@weekly", "2025-11-30T00:00"},         {"@monthly", "2025-12-01T00:00"},
	    {"@yearly", "2026-01-01T00:00"},         {"@annually", "2026-01-01T00:00"},
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++)
		ck_assert_msg(!strcmp(local_after(t[i].text, 1764000000), t[i].due), "%s: %s",
			      t[i].text, local_after(t[i].text, 1764000000));
	ck_assert_str_eq(local_after("0 0 29 2 *", INT64_C(3982000000)), "2104-02-29T00:00");
	ck_assert_str_eq(local_after("30 23 * * *", -1), "1970-01-01T23:30");
	ck_assert_str_eq(local_after("59 23 * * wed", 0), "1970-01-07T23:59");
}
END_TEST

START_TEST(what_is_none)
{
	static const char *const bad[] = {
	    "",
	    "*",
	    "* * * *",
	    "* * * * * *",
	    "60 * * * *",
	    "* 24 * * *",
	    "* * 0 * *",
	    "* * 32 * *",
	    "* * * 0 *",
	    "* * * 13 *",
	    "* * * * 8",
	    "-1 * * * *",
	    "5/2 * * * *",
	    "*/0 * * * *",
	    "5-1 * * * *",
	    "1, * * * *",
	    "1- * * * *",
	    "1-2- * * * *",
	    "* * * foo *",
	    "* * * janu *",
	    "* jan * * *",
	    "* * * * sat-sun",
	    "@",
	    "@reboot",
	    "@daily x",
	    "0 0 30 2 *",
	    "0 0 31 4,6 *",
	    "99999999999 * * * *",
	    "*5 * * * *",
	    "1;2 * * * *",
	};
	char longer[CRON_TEXT_MAX + 2];
	struct cron cron;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct error err = {0};
		ck_assert_msg(cron_parse(bad[i], &cron, &err) && err.code == ERR_REJECTED, "%s",
			      bad[i]);
	}
	memset(longer, ' ', sizeof(longer));
	memcpy(longer, "* * * * *", 9);
	longer[sizeof(longer) - 1] = '\0';
	struct error err = {0};
	ck_assert(cron_parse(longer, &cron, &err));
}
END_TEST

/* --- a zone that is one hour ahead between two times --------------------------------------------
 */

#define ON  (100 * INT64_C(86400) + T(1, 0)) /* 02:00 becomes 03:00 at an offset of an hour */
#define OFF (200 * INT64_C(86400) + T(1, 0)) /* 03:00 becomes 02:00 */

static int berlin(void *arg, int64_t utc, int64_t *offset, struct error *err)
{
	(void)err;
	++*(int *)arg;
	*offset = utc >= ON && utc < OFF ? T(2, 0) : T(1, 0);
	return 0;
}

/* The times behind `from` in minutes relative to it, "+" in front of each. */
static const char *due(const char *text, int64_t from, int n)
{
	static char out[200];
	struct error err = {0};
	struct cron cron;
	int64_t at = from;
	int asked = 0;
	size_t len = 0;
	ck_assert(!cron_parse(text, &cron, &err));
	for (int i = 0; i < n; i++) {
		int64_t next;
		ck_assert(!cron_next(&cron, at, berlin, &asked, &next, &err));
		ck_assert_int_gt(next, at);
		at = next;
		len += (size_t)snprintf(out + len, sizeof(out) - len, "+%d", (int)(at - from) / 60);
	}
	ck_assert_int_lt(asked, 40 * n);
	return out;
}

START_TEST(a_skipped_hour)
{
	int64_t from = ON - T(0, 45); /* 01:15; 45 minutes later it is 03:00 */
	ck_assert_str_eq(due("*/30 * * * *", from, 4), "+15+45+75+105");
	ck_assert_str_eq(due("30 2 * * *", from, 2), "+75+1455"); /* at 03:30, then at 02:30 */
	ck_assert_str_eq(due("0,30 1-3 * * *", from, 4), "+15+45+75+1365");
	ck_assert_str_eq(due("0 3 * * *", from, 2), "+45+1485");
	ck_assert_str_eq(due("30 2 * * *", ON + T(0, 29), 1), "+1");
	ck_assert_str_eq(due("30 2 * * *", ON + T(0, 30), 1), "+1380");
}
END_TEST

START_TEST(a_doubled_hour)
{
	int64_t from = OFF - T(1, 15); /* 01:45; an hour and a quarter later it is 02:00 again */
	ck_assert_str_eq(due("*/30 * * * *", from, 6), "+15+45+75+105+135+165");
	ck_assert_str_eq(due("30 2 * * *", from, 2), "+45+1545"); /* in the first pass only */
	ck_assert_str_eq(due("0,30 2-3 * * *", from, 5), "+15+45+135+165+1515");
	ck_assert_str_eq(due("30 2 * * *", OFF, 1), "+1470");
	ck_assert_str_eq(due("0 0 1 1 *", OFF - T(24, 0), 1), "+238920");
}
END_TEST

static int fails(void *arg, int64_t utc, int64_t *offset, struct error *err)
{
	(void)utc;
	*offset = utc >= ON ? T(2, 0) : T(1, 0);
	return --*(int *)arg < 0 ? err_set(err, ERR_TRANSIENT, "away") : 0;
}

/* The database may go away at any question. */
START_TEST(no_answer)
{
	static const char *const texts[] = {"30 2 * * *", "*/30 * * * *"};
	struct error err = {0};
	struct cron cron;
	int64_t next;
	for (size_t i = 0; i < 2; i++) {
		ck_assert(!cron_parse(texts[i], &cron, &err));
		int n = 0, left = 0;
		while (left = n, cron_next(&cron, ON - T(0, 10), fails, &left, &next, &err)) {
			ck_assert_int_eq(err.code, ERR_TRANSIENT);
			n++;
		}
		ck_assert_int_ge(n, 2);
		ck_assert_int_lt(n, 40);
	}
}
END_TEST

RUN_TESTS("cron", when, what_is_none, a_skipped_hour, a_doubled_hour, no_answer)
