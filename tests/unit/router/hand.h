/* A worker that holds what it gets. */
#ifndef PENSTOCK_TEST_ROUTER_HAND_H
#define PENSTOCK_TEST_ROUTER_HAND_H

#include "tests/unit/router/world.h"

#define HAND_MAX 64

struct hand {
	struct world *w;
	struct bus_consumer *consumer;
	int n;
	struct bus_claim *claim[HAND_MAX];
	char task[HAND_MAX][64];
	char input[HAND_MAX][64];
	uint64_t tokens[HAND_MAX], charge[HAND_MAX];
};

void hand_open(struct hand *h, struct world *w);
void hand_close(struct hand *h);
/* As a worker does at a task's end; tell: says it, too. */
void hand_end(struct hand *h, int i, bool tell);
/* The word alone: its calls took so many tokens. */
void hand_say_end(struct hand *h, int i, uint64_t used);

#endif
