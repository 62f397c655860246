/* Runs the simulation for many seeds.
 *
 *   sim [--seeds N] [--from S]   N runs (1,000), with the seeds S, S + 1, … (1)
 *   sim --seed S                 one run, telling what happens
 *
 * A run that breaks a promise prints its seed; the same seed gives the same run. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "tests/sim/cluster.h"

#define CHAOS_US   INT64_C(30000000)
#define STEP_US    INT64_C(500000)
#define SETTLE_MAX 1200 /* steps after the last fault: ten minutes */

struct totals {
	uint64_t late_repeats, late_messages;
	uint64_t released; /* tasks that rested and went on */
	uint64_t events, calls, crashes, cuts, outages, drains, tenant_drains, hand_offs;
	uint64_t leased, limited,
	    at_limit; /* runs in which the model was called as much as may be */
	uint64_t resumes, moves, spills, repairs, gaps, expired;
	uint64_t pulses, direct;
	uint64_t held; /* events and tasks against their tenant's limit */
};

static bool run(uint64_t seed, bool verbose, struct totals *t)
{
	static struct cluster c;
	int step = 0;

	cluster_start(&c, seed, verbose);
	cluster_run(&c, CHAOS_US);
	if (!c.failure[0])
		cluster_heal(&c);
	do
		cluster_run(&c, STEP_US);
	while (!c.failure[0] && !check_settled(&c) && ++step < SETTLE_MAX);
	if (!c.failure[0] && step == SETTLE_MAX)
		cluster_fail(&c,
			     "not settled ten minutes after the last fault: stored %" PRIu64
			     " of %" PRIu64 ", %" PRIu64 " tickets left; %s",
			     c.db.position, c.last_seq, c.queued, c.waiting);
	if (!c.failure[0])
		check_promises(&c);
	if (!c.failure[0])
		check_limit(&c);
	if (!c.failure[0])
		check_pulses(&c);
	t->events += c.last_seq;
	if (!c.failure[0] && seed % SIM_EVERY == 0)
		check_late_keys(&c);
	t->calls += c.calls;
	t->released += c.released;
	t->late_repeats += c.late_repeats;
	t->late_messages += c.late_messages;
	for (int i = 0; i < SIM_READERS; i++)
		t->pulses += c.readers[i].n_pulses;
	t->held += c.limited;
	t->crashes += c.crashes;
	t->cuts += c.cuts;
	t->outages += c.outages;
	t->drains += c.drains;
	t->tenant_drains += c.tenant_drains;
	t->hand_offs += c.hand_offs;
	t->leased += c.model.counts.calls;
	t->limited += c.model.counts.limited;
	t->at_limit += c.model.counts.most_open >= SIM_AT_ONCE;
	if (verbose)
		for (size_t i = 0; i < c.db.n; i++)
			printf("row %" PRIu64 " %s %s %s %s\n", c.db.rows[i].seq,
			       c.db.rows[i].channel, c.db.rows[i].type, c.db.rows[i].key,
			       c.db.rows[i].data);
	cluster_stop(&c);
	t->resumes += c.resumes;
	t->moves += c.moves;
	t->spills += c.spills;
	t->repairs += c.repairs;
	t->gaps += c.gaps;
	t->direct += c.direct;
	t->expired += c.expired;
	if (c.failure[0])
		printf("FAILED with seed %" PRIu64 ": %s\n  to see it: sim --seed %" PRIu64 "\n",
		       seed, c.failure, seed);
	return !c.failure[0];
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"seeds", required_argument, NULL, 'n'},
						{"from", required_argument, NULL, 'f'},
						{"seed", required_argument, NULL, 's'},
						{NULL, 0, NULL, 0}};
	uint64_t n = 1000, from = 1, ran = 0, failed = 0;
	bool one = false;
	struct totals t = {0};
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o == 'n')
			n = strtoull(optarg, NULL, 10);
		else if (o == 'f' || o == 's')
			from = strtoull(optarg, NULL, 10);
		else
			return 2;
		one = one || o == 's';
	}
	if (one)
		n = 1;
	/* Faults are what this is about; what the services say of them would fill the screen. */
	log_init("sim", "sim", one ? LOG_DEBUG : LOG_ERROR);
	for (; ran < n && failed < 10; ran++)
		failed += !run(from + ran, one, &t);
	printf("simulated: %" PRIu64 " events, %" PRIu64 " model calls, %" PRIu64
	       " crashes, %" PRIu64 " partitions, %" PRIu64 " outages, %" PRIu64 " drains (%" PRIu64
	       " of a tenant),\n  %" PRIu64 " workers stopped, %" PRIu64
	       " tasks that rested released\n",
	       t.events, t.calls, t.crashes, t.cuts, t.outages, t.drains + t.tenant_drains,
	       t.tenant_drains, t.hand_offs, t.released);
	printf("old keys: %" PRIu64 " repeated, %" PRIu64 " messages of them\n", t.late_repeats,
	       t.late_messages);
	printf("leases: %" PRIu64 " calls, %" PRIu64 " of them too many, %" PRIu64
	       " runs with as many at once as may be\n",
	       t.leased, t.limited, t.at_limit);
	printf("subscribers: %" PRIu64 " resumed, %" PRIu64 " closed by a drain, %" PRIu64
	       " spills, %" PRIu64 " repairs, %" PRIu64 " gaps announced, %" PRIu64
	       " of them for good\n",
	       t.resumes, t.moves, t.spills, t.repairs, t.gaps, t.expired);
	printf("pulses: %" PRIu64 " sent, %" PRIu64
	       " of them went directly; held against the limit: %" PRIu64 "\n",
	       t.pulses, t.direct, t.held);
	printf("%" PRIu64 " passed, %" PRIu64 " failed\n", ran - failed, failed);
	return failed ? 1 : 0;
}
