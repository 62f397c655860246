#include "services/edge/stages.h"

#include <stdlib.h>
#include <string.h>

#include "services/edge/jscan.h"

#define STAGE      "task.stage."
#define MEMBERS    32
#define STAGE_TEXT 128

static struct stage_at *find(const struct stages *s, struct slice id)
{
	for (unsigned i = 0; i < s->n; i++)
		if (slice_is(id, s->all[i].id))
			return &s->all[i];
	return NULL;
}

static struct stage_at *get(struct stages *s, const char *id)
{
	struct stage_at *at = find(s, slice_of(id));

	if (at || s->n == STAGES_MAX)
		return at;
	s->all = xrealloc(s->all, (s->n + 1) * sizeof(*s->all));
	at = &s->all[s->n++];
	*at = (struct stage_at){.id = xstrdup(id)};
	return at;
}

/* Whatever its types of other members are: what it says of the stage is all that is wanted. */
static bool read_stage(struct slice data, char id[STAGE_TEXT], int64_t *attempt)
{
	struct jmember members[MEMBERS];
	bool named = false;
	size_t n = 0;
	struct error err = {0};

	*attempt = 0;
	if (jscan_object(data.p, data.len, members, MEMBERS, &n, &err) && !n)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (slice_is(members[i].key, "stage"))
			named = jscan_text(&members[i], id, STAGE_TEXT);
		else if (slice_is(members[i].key, "attempt") && !jscan_int(&members[i], attempt))
			*attempt = 0;
	}
	return named && *attempt >= 0 && *attempt <= UINT32_MAX;
}

static void stage_event(struct stages *s, const struct event_view *e, bool started)
{
	char id[STAGE_TEXT];
	int64_t attempt;
	struct stage_at *at;

	if (!read_stage(e->data, id, &attempt))
		return;
	at = get(s, id);
	if (!at)
		return;
	if (started && attempt >= at->attempt) {
		*at = (struct stage_at){at->id, (uint32_t)attempt, true, e->time_us};
	} else if (!started && (!attempt || attempt >= at->attempt)) {
		at->open = false;
		if (attempt)
			at->attempt = (uint32_t)attempt;
	}
}

static const char *const ends[] = {"task.completed", "task.failed",   "task.cancelled",
				   "task.expired",   "task.redriven", "task.parked",
				   "task.handed_off"};

static void end_all(struct stages *s)
{
	for (unsigned i = 0; i < s->n; i++)
		s->all[i].open = false;
}

void stages_event(struct stages *s, const struct event_view *e)
{
	if (slice_is(e->type, STAGE "started") || slice_is(e->type, STAGE "completed") ||
	    slice_is(e->type, STAGE "failed") || slice_is(e->type, STAGE "skipped")) {
		stage_event(s, e, slice_is(e->type, STAGE "started"));
		return;
	}
	/* task.started again, by who takes over from a lost worker, ends nothing: what that one
	 * said stands until there is another attempt. */
	for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (slice_is(e->type, ends[i]))
			end_all(s);
}

int64_t stages_since(const struct stages *s)
{
	int64_t since = 0;

	for (unsigned i = 0; i < s->n; i++)
		if (s->all[i].open && (!since || s->all[i].since_us < since))
			since = s->all[i].since_us;
	return since;
}

bool stages_want(const struct stages *s, const struct delta_view *d)
{
	const struct stage_at *at = find(s, d->stage);

	return !at || d->attempt > at->attempt || (d->attempt == at->attempt && at->open);
}

void stages_done(struct stages *s)
{
	for (unsigned i = 0; i < s->n; i++)
		free(s->all[i].id);
	free(s->all);
	*s = (struct stages){0};
}
