/* Cron expressions: when a schedule is due next (crontab(5) of Vixie's cron, as Debian has it).
 *
 * Five fields, minute hour day month weekday, of numbers, names of months and weekdays (three
 * letters), lists, ranges and steps; weekday 0 and 7 are Sunday. If both day and weekday are
 * restricted, either is enough. Or one of @yearly, @annually, @monthly, @weekly, @daily, @midnight,
 * @hourly.
 *
 * Where clocks are put forward or back: an expression whose hour is * follows the clock as it goes,
 * so it is due in both passes of a doubled hour and not in a skipped one. Any other is due once a
 * named time: in the first pass of a doubled hour, and as much later as the clock jumped when its
 * time was skipped.
 *
 * Pure; threads: any. Times are seconds since 1970. */
#ifndef PENSTOCK_CRON_H
#define PENSTOCK_CRON_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

#define CRON_TEXT_MAX 256

struct cron {
	uint64_t minutes;
	uint32_t hours, days; /* bit n: n; days 1 to 31 */
	uint16_t months;      /* 1 to 12 */
	uint8_t weekdays;     /* 0 is Sunday */
	bool any_day, any_weekday, any_hour;
};

/* ERR_REJECTED names the field; also for a day that no year has. */
int cron_parse(const char *text, struct cron *cron, struct error *err) MUST_CHECK;
/* The first local time behind this one that fits. */
int64_t cron_next_local(const struct cron *cron, int64_t local_s);

/* What a zone's clock shows at utc_s, less utc_s. */
typedef int cron_offset_fn(void *arg, int64_t utc_s, int64_t *offset_s, struct error *err);
/* The first time behind after_s when it is due; asks for a few offsets. -1 as offset() says. */
int cron_next(const struct cron *cron, int64_t after_s, cron_offset_fn *offset, void *arg,
	      int64_t *next_s, struct error *err) MUST_CHECK;

#endif
