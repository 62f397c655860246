/* Bytes on pen.lease.models: as a worker's LeaseReport, to a grantor that lives for many inputs;
 * and as a grantor's LeaseAnswer, to a worker. The first byte says which.
 *
 * Whatever workers say, no grant is more than the target's limits; what is granted is packed and
 * read as on the bus; and whatever an answer says, a worker starts no more by it. */
/* links: services/orchestrator-worker */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"
#include "services/control-plane/lease.h"
#include "services/orchestrator-worker/lease.h"

#define INPUTS_MAX 2000 /* then a new grantor */
#define TAKEN_MAX  3000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const struct lease_limits rated = {600, 10000, 10, -1, -1, -1},
				 counted = {0, 0, 5, -1, -1, -1};
static struct grantor *grantor;
static int64_t now_us = 1000000;
static unsigned inputs;

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void beat(void)
{
	Penstock__LeaseAnswer answer;
	grantor_beat(grantor, now_us, &answer);
	grantor_answer_done(&answer);
}

static void setup(void)
{
	static const char *const workers[] = {"w1", "w2", "w3"};
	grantor_free(grantor);
	grantor = grantor_new("control-1", 1, now_us);
	grantor_target(grantor, "m", &rated, true, now_us);
	grantor_target(grantor, "c", &counted, true, now_us);
	grantor_workers(grantor, workers, 2, 3, now_us);
	/* It has learned that nobody holds anything. */
	for (int s = 0; s < 20; s++) {
		now_us += 1000000;
		beat();
	}
	inputs = 0;
}

/* A worker's calls by this grant. */
static void use(const Penstock__LeaseGrant *grant, const struct lease_limits *limits)
{
	struct lease l;
	struct lease_world world = {.online = true, .heard_us = now_us, .workers = 3, .rank = 0};
	struct lease_permit permit;
	Penstock__LeaseUse told = PENSTOCK__LEASE_USE__INIT;
	unsigned taken = 0;
	lease_init(&l);
	lease_set(&l, limits, now_us);
	lease_granted(&l, grant, 1, now_us, now_us);
	while (taken < TAKEN_MAX && lease_take(&l, &world, 10, now_us, &permit))
		taken++;
	must(taken <= grant->level);
	must(!limits->rpm || taken <= grant->calls);
	must(!limits->tpm || (uint64_t)taken * 10 <= grant->tokens);
	lease_report(&l, &told, now_us);
	must(told.running == taken && !lease_take(&l, &world, 10, now_us, &permit));
	for (unsigned i = 0; i < taken; i++)
		lease_settle(&l, &permit, LEASE_GOOD, false, 40, 5, 5, now_us);
	must(l.running == 0 && l.held == 0 && l.settled == (uint64_t)taken * 10);
}

static void answered(const Penstock__LeaseAnswer *a)
{
	for (size_t i = 0; i < a->n_grants; i++)
		use(a->grants[i], strcmp(a->grants[i]->target, "c") ? &rated : &counted);
}

static void sent(const Penstock__LeaseAnswer *answer)
{
	size_t len = penstock__lease_answer__get_packed_size(answer);
	uint8_t *packed = xmalloc(len + 1);
	must(penstock__lease_answer__pack(answer, packed) == len);
	Penstock__LeaseAnswer *a = penstock__lease_answer__unpack(NULL, len, packed);
	must(a && a->n_grants == answer->n_grants && a->seq == answer->seq);
	answered(a);
	penstock__lease_answer__free_unpacked(a, NULL);
	free(packed);
}

static void report(const uint8_t *data, size_t len)
{
	Penstock__LeaseAnswer answer;
	Penstock__LeaseReport *r = penstock__lease_report__unpack(NULL, len, data);
	if (!r)
		return;
	grantor_report(grantor, r, now_us, &answer);
	for (size_t i = 0; i < answer.n_grants; i++) {
		const Penstock__LeaseGrant *g = answer.grants[i];
		const struct lease_limits *limits = strcmp(g->target, "c") ? &rated : &counted;
		must(g->level <= limits->concurrent && g->calls <= limits->rpm &&
		     g->tokens <= (uint64_t)limits->tpm);
	}
	sent(&answer);
	grantor_answer_done(&answer);
	penstock__lease_report__free_unpacked(r, NULL);
}

static void answer(const uint8_t *data, size_t len)
{
	Penstock__LeaseAnswer *a = penstock__lease_answer__unpack(NULL, len, data);
	if (!a)
		return;
	answered(a);
	penstock__lease_answer__free_unpacked(a, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (!grantor || ++inputs > INPUTS_MAX)
		setup();
	now_us += 200000;
	if (len == 0)
		return 0;
	if (data[0] & 1)
		answer(data + 1, len - 1);
	else
		report(data + 1, len - 1);
	beat();
	return 0;
}
