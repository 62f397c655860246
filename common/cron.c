#include "common/cron.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#define DAY 86400

/* --- reading -----------------------------------------------------------------------------------
 */

struct field {
	const char *what;
	int min, max;
	const char *const *names; /* the first is of min_name */
	int n_names, min_name;
};

static const char *const months[] = {"jan", "feb", "mar", "apr", "may", "jun",
				     "jul", "aug", "sep", "oct", "nov", "dec"};
static const char *const weekdays[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
static const struct field fields[] = {
    {"minute", 0, 59, NULL, 0, 0},   {"hour", 0, 23, NULL, 0, 0},       {"day", 1, 31, NULL, 0, 0},
    {"month", 1, 12, months, 12, 1}, {"weekday", 0, 7, weekdays, 7, 0},
};
static const struct {
	const char *word, *means;
} macros[] = {
    {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},
    {"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"},    {"@midnight", "0 0 * * *"},
    {"@hourly", "0 * * * *"},
};

static bool read_name(const char **p, const struct field *f, int *out)
{
	for (int i = 0; i < f->n_names; i++)
		if (!strncasecmp(*p, f->names[i], 3) && !isalnum((unsigned char)(*p)[3])) {
			*p += 3;
			*out = f->min_name + i;
			return true;
		}
	return false;
}

static bool read_number(const char **p, int max, int *out)
{
	const char *start = *p;
	for (*out = 0; isdigit((unsigned char)**p) && *p - start < 4; (*p)++)
		*out = *out * 10 + (**p - '0');
	return *p > start && *out <= max;
}

static bool read_value(const char **p, const struct field *f, int *out)
{
	return read_name(p, f, out) || (read_number(p, f->max, out) && *out >= f->min);
}

/* One of a list: "*", "7", "1-5", each with "/2". Like Vixie's cron we take no step behind a single
 * number. */
static bool read_part(const char **p, const struct field *f, uint64_t *bits)
{
	int from = f->min, to = f->max, step = 1;
	bool many = true;
	if (**p == '*') {
		(*p)++;
	} else {
		if (!read_value(p, f, &from))
			return false;
		to = from;
		many = **p == '-';
		if (many && (++*p, !read_value(p, f, &to)))
			return false;
	}
	if (**p == '/' && (!many || (++*p, !read_number(p, f->max, &step)) || step < 1))
		return false;
	if (to < from)
		return false;
	for (int i = from; i <= to; i += step)
		*bits |= UINT64_C(1) << i;
	return true;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

static int read_field(const char **p, const struct field *f, uint64_t *bits, bool *any,
		      struct error *err)
{
	while (blank(**p))
		(*p)++;
	*bits = 0;
	*any = **p == '*';
	do {
		if (!read_part(p, f, bits))
			return err_set(err, ERR_REJECTED, "%s: cannot be read, or is not in %d-%d",
				       f->what, f->min, f->max);
	} while (**p == ',' && (*p)++);
	if (**p && !blank(**p))
		return err_set(err, ERR_REJECTED, "%s: cannot be read", f->what);
	return 0;
}

/* Some year has one of these days: the 30th of February is in none. */
static bool exists(const struct cron *c)
{
	static const int lengths[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	if (c->any_day || !c->any_weekday)
		return true;
	for (int m = 1; m <= 12; m++)
		if (c->months & 1u << m && c->days & ((UINT32_C(2) << lengths[m - 1]) - 1))
			return true;
	return false;
}

int cron_parse(const char *text, struct cron *cron, struct error *err)
{
	uint64_t bits[5];
	bool any[5];
	if (strlen(text) > CRON_TEXT_MAX)
		return err_set(err, ERR_REJECTED, "longer than %d characters", CRON_TEXT_MAX);
	for (size_t i = 0; i < sizeof(macros) / sizeof(*macros); i++)
		if (!strcmp(text, macros[i].word))
			text = macros[i].means;
	for (int i = 0; i < 5; i++)
		if (read_field(&text, &fields[i], &bits[i], &any[i], err))
			return -1;
	while (blank(*text))
		text++;
	if (*text)
		return err_set(err, ERR_REJECTED, "more than five fields");
	*cron = (struct cron){.minutes = bits[0],
			      .hours = (uint32_t)bits[1],
			      .days = (uint32_t)bits[2],
			      .months = (uint16_t)bits[3],
			      .weekdays = (uint8_t)((bits[4] | bits[4] >> 7) & 127),
			      .any_day = any[2],
			      .any_weekday = any[4],
			      .any_hour = bits[1] == (1u << 24) - 1};
	if (!exists(cron))
		return err_set(err, ERR_REJECTED, "day: there is none such in these months");
	return 0;
}

/* --- local time --------------------------------------------------------------------------------
 */

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

/* Source: "chrono-Compatible Low-Level Date Algorithms", Howard Hinnant, civil_from_days. */
static void civil(int64_t days, int *month, int *day)
{
	days += 719468;
	int64_t era = floor_div(days, 146097);
	int64_t doe = days - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153;
	*day = (int)(doy - (153 * mp + 2) / 5 + 1);
	*month = (int)(mp < 10 ? mp + 3 : mp - 9);
}

static bool day_fits(const struct cron *c, int64_t days)
{
	int month, day;
	civil(days, &month, &day);
	if (!(c->months & 1u << month))
		return false;
	/* 1970-01-01 was a Thursday. */
	int64_t weekday = days + 4 - floor_div(days + 4, 7) * 7;
	bool by_day = c->days & UINT32_C(1) << day, by_weekday = c->weekdays & 1u << weekday;
	return c->any_day || c->any_weekday ? by_day && by_weekday : by_day || by_weekday;
}

int64_t cron_next_local(const struct cron *cron, int64_t local_s)
{
	int64_t minute = floor_div(local_s, 60) + 1;
	int64_t days = floor_div(minute, 1440), at = minute - days * 1440;
	/* Ends: cron_parse() has seen that there is such a day; the longest way is from one 29th of
	 * February to the next, and there are sets of days of which each is a weekday. */
	for (;; days++, at = 0) {
		if (!day_fits(cron, days))
			continue;
		for (; at < 1440; at++) {
			if (!(cron->hours & UINT32_C(1) << at / 60))
				at = at / 60 * 60 + 59;
			else if (cron->minutes & UINT64_C(1) << at % 60)
				return days * DAY + at * 60;
		}
	}
}

/* --- zones -------------------------------------------------------------------------------------
 */

/* The first second in (from, to] whose offset is another than that at from. */
static int find_change(int64_t from, int64_t to, int64_t before, cron_offset_fn *offset, void *arg,
		       int64_t *at, struct error *err)
{
	while (to - from > 1) {
		int64_t mid = from + (to - from) / 2, there;
		if (offset(arg, mid, &there, err))
			return -1;
		if (there == before)
			from = mid;
		else
			to = mid;
	}
	*at = to;
	return 0;
}

/* As the clock goes: the same offset up to there, or on from where it changes. */
static int next_running(const struct cron *c, int64_t after, cron_offset_fn *offset, void *arg,
			int64_t *next, struct error *err)
{
	int64_t now, then;
	if (offset(arg, after, &now, err))
		return -1;
	for (int64_t local = after + now;; local = after + now - 1) {
		*next = cron_next_local(c, local) - now;
		if (offset(arg, *next, &then, err))
			return -1;
		if (then == now)
			return 0;
		if (find_change(after, *next, now, offset, arg, &after, err) ||
		    offset(arg, after, &now, err))
			return -1;
	}
}

/* When a clock shows this for the first time; if it never does, by the offset of before. No zone
 * changes twice within two days. */
static int first_of(int64_t local, cron_offset_fn *offset, void *arg, int64_t *utc,
		    struct error *err)
{
	int64_t before, behind, there;
	if (offset(arg, local - DAY, &before, err) || offset(arg, local + DAY, &behind, err))
		return -1;
	*utc = local - before;
	if (before == behind || offset(arg, *utc, &there, err))
		return before == behind ? 0 : -1;
	if (there == before)
		return 0;
	if (offset(arg, local - behind, &there, err))
		return -1;
	if (there == behind)
		*utc = local - behind;
	return 0;
}

static int next_named(const struct cron *c, int64_t after, cron_offset_fn *offset, void *arg,
		      int64_t *next, struct error *err)
{
	int64_t now, before;
	if (offset(arg, after, &now, err) || offset(arg, after - DAY, &before, err))
		return -1;
	/* When the clock has just jumped, times that it has skipped are still to come. */
	int64_t local = after + (before < now ? before : now);
	do {
		local = cron_next_local(c, local);
		if (first_of(local, offset, arg, next, err))
			return -1;
	} while (*next <= after);
	return 0;
}

int cron_next(const struct cron *cron, int64_t after_s, cron_offset_fn *offset, void *arg,
	      int64_t *next_s, struct error *err)
{
	return (cron->any_hour ? next_running : next_named)(cron, after_s, offset, arg, next_s,
							    err);
}
