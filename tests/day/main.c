/* Runs the days, and says whether each kept what is promised.
 *
 *   day [--plan NAME] [--seed S] [--seeds N] [--verbose]
 *
 * Each plan, or that one, with N seeds (1) from S (1) on; --verbose tells of every minute. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "tests/day/day.h"

#define WARM_UP 2   /* minutes */
#define GOODPUT 0.9 /* of what the target can give, in every minute of overload */
#define SLACK   1.1 /* of the time that a backlog takes to drain, by arithmetic */
#define TRIES   50  /* of a worker, while the target is away */
#define AT_EASE 1.2 /* minutes of the target's time: more is a backlog */

static const struct plan plans[] = {
    {.name = "calls a minute",
     .server = {.rpm = 60,
		.places = 32,
		.work_us = 2000000,
		.fail_every = 50,
		.troubles = {{TROUBLE_SHARED, 20, 25}}},
     .limits = {.rpm = 60},
     .timeout_ms = 20000,
     .per_minute = 60 * 0.98,
     .rush = 60,
     .normal = 0.7,
     .hours = 24,
     .workers = 3,
     .slots = 8},
    {.name = "calls at once",
     .server = {.places = 4,
		.work_us = 4000000,
		.fail_every = 50,
		.troubles = {{TROUBLE_HANGS, 20, 21}, {TROUBLE_REFUSES, 40, 42}}},
     .limits = {.concurrent = 4},
     .timeout_ms = 20000,
     .per_minute = 60 * 0.98,
     .rush = 60,
     .normal = 0.7,
     .hours = 24,
     .workers = 2,
     .slots = 12},
    /* Fast enough that the retries' budget is less than what they want. */
    {.name = "failures",
     .server = {.places = 12,
		.work_us = 1000000,
		.fail_every = 50,
		.troubles = {{TROUBLE_FAILS, 5, 8}, {TROUBLE_HANGS, 12, 13}}},
     .limits = {.concurrent = 12},
     .timeout_ms = 10000,
     .per_minute = 720 * 0.98,
     .rush = 15,
     .normal = 0.3,
     .hours = 2,
     .workers = 2,
     .slots = 24},
};

static bool hit_by(const struct plan *p, int64_t minute)
{
	for (size_t i = 0; i < 2; i++)
		if (p->server.troubles[i].to > 0 && minute >= p->server.troubles[i].from &&
		    minute < p->server.troubles[i].to + WARM_UP)
			return true;
	return false;
}

/* The first minute after the rush at whose end nothing much waits. */
static int64_t drained(const struct day *d)
{
	int64_t m = d->plan->rush;
	while (m < d->minute && (double)d->unfinished[m] > AT_EASE * d->plan->per_minute)
		m++;
	return m;
}

static void check_goodput(struct day *d, int64_t until)
{
	for (d->minute = WARM_UP; d->minute < until; d->minute++)
		if (!hit_by(d->plan, d->minute) &&
		    (double)d->server.counts.good[d->minute] < GOODPUT * d->plan->per_minute)
			day_fail(d, "%" PRIu64 " good answers, %.1f are possible",
				 d->server.counts.good[d->minute], d->plan->per_minute);
}

static void check(struct day *d)
{
	const struct plan *p = d->plan;
	const struct server_counts *c = &d->server.counts;
	int64_t until = drained(d), last = d->minute - 1;
	double gain = p->per_minute * (GOODPUT - p->normal);
	double most = (double)p->rush + SLACK * (double)d->unfinished[p->rush - 1] / gain;
	check_goodput(d, until);
	d->minute = until;
	if ((double)until > most)
		day_fail(d, "the backlog is not drained after %.0f minutes", most);
	for (d->minute = until + 10; d->minute <= last; d->minute++)
		if ((double)d->unfinished[d->minute] > 2 * AT_EASE * p->per_minute)
			day_fail(d, "there are %zu tasks again", d->unfinished[d->minute]);
	d->minute = last;
	if (p->server.rpm > 0 && c->most_a_minute > (size_t)p->server.rpm)
		day_fail(d, "the target saw %zu calls in a minute", c->most_a_minute);
	if (p->limits.concurrent > 0 && c->most_open > (size_t)p->limits.concurrent)
		day_fail(d, "the target saw %zu calls at once", c->most_open);
	if (c->refused > TRIES * p->workers)
		day_fail(d, "%" PRIu64 " calls while nobody answered", c->refused);
	if (d->gave_up > 0)
		day_fail(d, "%" PRIu64 " tasks were given up", d->gave_up);
	if (d->accepted != d->done + d->unfinished[last])
		day_fail(d, "tasks are lost");
}

static void tell(const struct day *d, uint64_t seed, int64_t until)
{
	const struct server_counts *c = &d->server.counts;
	uint64_t least = UINT64_MAX;
	for (int64_t m = WARM_UP; m < until; m++)
		if (!hit_by(d->plan, m) && c->good[m] < least)
			least = c->good[m];
	printf("%-16s seed %" PRIu64 ": %" PRIu64 " tasks, %" PRIu64 " first calls, %" PRIu64
	       " retries, %" PRIu64 " parked; %" PRIu64 " wasted, %" PRIu64 " limited, %" PRIu64
	       " refused; goodput %.0f %% at least; %zu waited, drained after %" PRId64
	       " minutes\n",
	       d->plan->name, seed, d->accepted, d->first, d->again, d->parked, c->wasted,
	       c->limited, c->refused, 100 * (double)least / d->plan->per_minute,
	       d->unfinished[d->plan->rush - 1], until);
}

static bool run(const struct plan *plan, uint64_t seed, bool verbose)
{
	static struct day d;
	day_run(&d, plan, seed);
	int64_t until = drained(&d);
	if (d.failure[0] == '\0')
		check(&d);
	if (verbose)
		for (int64_t m = 0; m < d.plan->hours * 60; m++)
			printf("minute %" PRId64 ": %" PRIu64 " good, %zu tasks\n", m,
			       d.server.counts.good[m], d.unfinished[m]);
	tell(&d, seed, until);
	if (d.failure[0] != '\0')
		printf("FAILED: %s, seed %" PRIu64 ": %s\n", plan->name, seed, d.failure);
	return d.failure[0] == '\0';
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"plan", required_argument, NULL, 'p'},
						{"seed", required_argument, NULL, 's'},
						{"seeds", required_argument, NULL, 'n'},
						{"verbose", no_argument, NULL, 'v'},
						{NULL, 0, NULL, 0}};
	uint64_t from = 1, n = 1, failed = 0;
	const char *only = NULL;
	bool verbose = false;
	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (o == 's')
			from = strtoull(optarg, NULL, 10);
		else if (o == 'n')
			n = strtoull(optarg, NULL, 10);
		else if (o == 'p')
			only = optarg;
		else if (o == 'v')
			verbose = true;
		else
			return 2;
	}
	log_init("day", "day", LOG_ERROR);
	for (size_t i = 0; i < sizeof(plans) / sizeof(plans[0]); i++)
		for (uint64_t seed = from; seed < from + n; seed++)
			if (only == NULL || strcmp(only, plans[i].name) == 0)
				failed += !run(&plans[i], seed, verbose);
	return failed > 0;
}
