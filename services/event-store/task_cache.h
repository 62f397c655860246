/* The unfinished tasks that the writer folds transitions into, so that it reads each from
 * PostgreSQL once.
 *
 * Bounded in number and bytes: when full, all are dropped and read again when needed. One owner. */
#ifndef PENSTOCK_EVENT_STORE_TASK_CACHE_H
#define PENSTOCK_EVENT_STORE_TASK_CACHE_H

#include "services/event-store/project.h"

struct store_task {
	struct project_task task; /* task.task NULL: no event yet */
	char *id;
	size_t cost;       /* bytes of the events folded into it */
	bool touched;      /* by the batch at hand */
	bool stored;       /* it has a row */
	bool input_stored; /* its row has the input */
};

struct store_task_cache { /* zeroed: empty */
	void *tree;       /* tsearch(3) */
	size_t n, bytes;
	struct store_task **touched; /* in order of first touch; of the batch at hand */
	size_t n_touched, cap_touched;
};

/* NULL if it is not there. */
struct store_task *store_task_cache_find(struct store_task_cache *c, const char *id);
/* A new one with an empty state; it must not be there. */
struct store_task *store_task_cache_add(struct store_task_cache *c, const char *id);
void store_task_cache_touch(struct store_task_cache *c, struct store_task *task, size_t cost);
/* The batch is committed: forgets finished tasks, and all if there are too many. */
void store_task_cache_committed(struct store_task_cache *c);
/* Forgets all: after a rollback they are not what PostgreSQL has. */
void store_task_cache_done(struct store_task_cache *c);

#endif
