/* From the events of the log to the state of a task: what is read at the start, and what our own
 * writes mean. */
#include <stdlib.h>
#include <string.h>

#include "services/orchestrator-worker/saga.h"

static const char *const types[] = {
    [TASK_ACCEPTED] = "task.accepted",
    [TASK_STARTED] = "task.started",
    [TASK_STAGE_STARTED] = "task.stage.started",
    [TASK_STAGE_COMPLETED] = "task.stage.completed",
    [TASK_STAGE_FAILED] = "task.stage.failed",
    [TASK_STAGE_SKIPPED] = "task.stage.skipped",
    [TASK_PARKED] = "task.parked",
    [TASK_REDRIVEN] = "task.redriven",
    [TASK_HANDED_OFF] = "task.handed_off",
    [TASK_COMPLETED] = "task.completed",
    [TASK_FAILED] = "task.failed",
    [TASK_CANCELLED] = "task.cancelled",
    [TASK_EXPIRED] = "task.expired",
    [TASK_UNKNOWN] = "?",
};

const char *saga_type_name(enum saga_type type)
{
	return types[type];
}

enum saga_type saga_type_of(const char *name)
{
	for (size_t i = 0; i < TASK_UNKNOWN; i++)
		if (strcmp(types[i], name) == 0)
			return (enum saga_type)i;
	return TASK_UNKNOWN;
}

bool saga_type_terminal(enum saga_type type)
{
	return type == TASK_COMPLETED || type == TASK_FAILED || type == TASK_CANCELLED ||
	       type == TASK_EXPIRED;
}

static char *copy(struct slice s)
{
	return s.p != NULL ? xstrndup(s.p, s.len) : xstrdup("");
}

static void take_usage(struct saga_stage *stage, struct slice usage)
{
	if (usage.p == NULL)
		return;
	stage->has_usage = true;
	stage->usage = (struct saga_usage){
	    .prompt_tokens = slice_int(slice_member(usage.p, usage.len, "prompt_tokens"), 0),
	    .completion_tokens =
		slice_int(slice_member(usage.p, usage.len, "completion_tokens"), 0),
	    .total_tokens = slice_int(slice_member(usage.p, usage.len, "total_tokens"), 0),
	};
}

static void take_completed(struct saga *s, size_t i, const char *data, size_t len)
{
	struct saga_stage *stage = &s->stages[i];
	struct slice output = slice_member(data, len, "output");
	if (output.p == NULL || stage->state == STAGE_DONE)
		return;
	free(stage->output);
	stage->output = xstrndup(output.p, output.len);
	stage->output_len = output.len;
	take_usage(stage, slice_member(data, len, "usage"));
	saga_spend(s, i, stage->has_usage ? &stage->usage : NULL);
	stage->state = STAGE_DONE;
	stage->open = false;
	s->complete |= UINT64_C(1) << i;
}

static void take_failed(struct saga *s, size_t i, const char *data, size_t len)
{
	struct saga_stage *stage = &s->stages[i];
	stage->put_off = slice_is(slice_member(data, len, "throttled"), "true");
	if (stage->put_off)
		stage->throttled++;
	else
		stage->failed++;
	if (stage->put_off && stage->throttled_since == 0)
		stage->throttled_since = slice_int(slice_member(data, len, "throttled_since"), 0);
	stage->open = false;
	stage->held_since = 0;
	stage->final = slice_is(slice_member(data, len, "final"), "true");
	stage->retry_at = slice_int(slice_member(data, len, "retry_at"), 0);
	stage->state = stage->final ? STAGE_FAILED : STAGE_BACKOFF;
	free(stage->reason);
	free(stage->message);
	stage->reason = copy(slice_text(slice_member(data, len, "reason")));
	stage->message = copy(slice_text(slice_member(data, len, "message")));
	saga_spend_failed(s, i, stage->reason);
}

static void take_stage(struct saga *s, enum saga_type type, const char *data, size_t len)
{
	struct slice id = slice_text(slice_member(data, len, "stage"));
	int i = id.p != NULL && s->spec != NULL ? pipeline_find(s->spec, id.p, id.len) : -1;
	if (i < 0)
		return;
	struct saga_stage *stage = &s->stages[i];
	if (type == TASK_STAGE_STARTED) {
		int64_t attempt = slice_int(slice_member(data, len, "attempt"), 0);
		if (attempt > (int64_t)stage->attempt && attempt < INT32_MAX)
			stage->attempt = (unsigned)attempt;
		stage->start_by = slice_int(slice_member(data, len, "start_by"), stage->start_by);
		stage->deadline_at =
		    slice_int(slice_member(data, len, "deadline_at"), stage->deadline_at);
		stage->open = true;
		stage->state = STAGE_WAITING;
		stage->since = slice_int(slice_member(data, len, "since"), stage->since);
	} else if (type == TASK_STAGE_COMPLETED) {
		take_completed(s, (size_t)i, data, len);
	} else if (type == TASK_STAGE_SKIPPED) {
		stage->state = STAGE_SKIPPED;
		s->complete |= UINT64_C(1) << i;
		s->skipped |= UINT64_C(1) << i;
	} else {
		take_failed(s, (size_t)i, data, len);
	}
}

/* What was under way was broken off on purpose, which is no failure. */
static void spare_stages(struct saga *s)
{
	for (size_t i = 0; i < s->n; i++) {
		struct saga_stage *stage = &s->stages[i];
		stage->earlier += stage->open;
		if (stage->open)
			saga_spend(s, i, NULL);
		stage->open = false;
	}
}

static void take_held(struct saga *s, struct slice held)
{
	for (size_t i = 0; held.p != NULL && i < s->n; i++)
		s->stages[i].held_since =
		    slice_int(slice_member(held.p, held.len, s->spec->stages[i].id), 0);
}

/* What was spent before was another ticket's. */
static void spend_anew(struct saga *s)
{
	s->spent = 0;
	s->untold = false;
}

/* What is complete stays so, the rest begins again with the next attempt and a count of its own.
 * Who redrives a task does not mean its old deadline. */
static void take_redriven(struct saga *s)
{
	s->holder = 0;
	spend_anew(s);
	s->end = TASK_UNKNOWN;
	s->deadline_at = 0;
	for (size_t i = 0; i < s->n; i++) {
		struct saga_stage *stage = &s->stages[i];
		if (stage->state == STAGE_DONE || stage->state == STAGE_SKIPPED)
			continue;
		stage->state = STAGE_WAITING;
		stage->open = stage->final = false;
		stage->failed = stage->throttled = 0;
		stage->throttled_since = stage->held_since = 0;
		stage->start_by = stage->deadline_at = 0;
		stage->earlier = stage->attempt;
	}
}

void saga_take_event(struct saga *s, enum saga_type type, const char *data, size_t len)
{
	switch (type) {
	case TASK_ACCEPTED:
		strbuf_reset(&s->accepted);
		strbuf_add(&s->accepted, data, len);
		s->input = slice_member(s->accepted.data, s->accepted.len, "input");
		s->deadline_at =
		    slice_int(slice_member(s->accepted.data, s->accepted.len, "deadline_at"), 0);
		break;
	case TASK_STARTED:
		s->holder = (uint64_t)slice_int(slice_member(data, len, "claim"), 0);
		s->run = slice_int(slice_member(data, len, "run"), s->run + 1);
		break;
	case TASK_PARKED:
		s->holder = 0; /* whoever gets the ticket of its release goes on with it */
		spare_stages(s);
		spend_anew(s);
		take_held(s, slice_member(data, len, "held_since"));
		break;
	case TASK_REDRIVEN:
		take_redriven(s);
		break;
	case TASK_HANDED_OFF: /* whoever gets the same ticket again */
		spare_stages(s);
		take_held(s, slice_member(data, len, "held_since"));
		break;
	case TASK_STAGE_STARTED:
	case TASK_STAGE_COMPLETED:
	case TASK_STAGE_FAILED:
	case TASK_STAGE_SKIPPED:
		take_stage(s, type, data, len);
		break;
	default:
		break;
	}
}
