#include "services/event-store/task_cache.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"

#define TASKS_MAX 50000
#define BYTES_MAX (64 << 20)

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct store_task *)a)->id, ((const struct store_task *)b)->id);
}

struct store_task *store_task_cache_find(struct store_task_cache *c, const char *id)
{
	struct store_task key = {.id = (char *)id};
	void *node = tfind(&key, &c->tree, by_id);
	return node ? *(struct store_task **)node : NULL;
}

struct store_task *store_task_cache_add(struct store_task_cache *c, const char *id)
{
	struct store_task *task = xcalloc(1, sizeof(*task));

	task->id = xstrdup(id);
	if (!tsearch(task, &c->tree, by_id))
		abort();
	c->n++;
	return task;
}

void store_task_cache_touch(struct store_task_cache *c, struct store_task *task, size_t cost)
{
	task->cost += cost;
	c->bytes += cost;
	if (task->touched)
		return;
	if (c->n_touched == c->cap_touched) {
		c->cap_touched = c->cap_touched ? c->cap_touched * 2 : 64;
		c->touched = xrealloc(c->touched, c->cap_touched * sizeof(struct store_task *));
	}
	task->touched = true;
	c->touched[c->n_touched++] = task;
}

static void free_task(void *arg)
{
	struct store_task *task = arg;

	project_done(&task->task);
	free(task->id);
	free(task);
}

void store_task_cache_committed(struct store_task_cache *c)
{
	for (size_t i = 0; i < c->n_touched; i++) {
		struct store_task *task = c->touched[i];
		task->touched = false;
		task->stored = true;
		task->input_stored = task->task.input != NULL;
		if (!project_final(task->task.state))
			continue;
		tdelete(task, &c->tree, by_id);
		c->n--;
		c->bytes -= task->cost;
		free_task(task);
	}
	c->n_touched = 0;
	if (c->n > TASKS_MAX || c->bytes > BYTES_MAX)
		store_task_cache_done(c);
}

void store_task_cache_done(struct store_task_cache *c)
{
	tdestroy(c->tree, free_task);
	free(c->touched);
	*c = (struct store_task_cache){0};
}
