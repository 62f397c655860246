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
    [TASK_PARKED] = "task.parked",
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
	return s.at != NULL ? xstrndup(s.at, s.len) : xstrdup("");
}

static void take_usage(struct saga_stage *stage, struct slice usage)
{
	if (usage.at == NULL)
		return;
	stage->has_usage = true;
	stage->usage = (struct saga_usage){
	    .prompt_tokens = slice_int(slice_member(usage.at, usage.len, "prompt_tokens"), 0),
	    .completion_tokens =
		slice_int(slice_member(usage.at, usage.len, "completion_tokens"), 0),
	    .total_tokens = slice_int(slice_member(usage.at, usage.len, "total_tokens"), 0),
	};
}

static void take_completed(struct saga *s, size_t i, const char *data, size_t len)
{
	struct saga_stage *stage = &s->stages[i];
	struct slice output = slice_member(data, len, "output");
	if (output.at == NULL || stage->state == STAGE_DONE)
		return;
	free(stage->output);
	stage->output = xstrndup(output.at, output.len);
	stage->output_len = output.len;
	take_usage(stage, slice_member(data, len, "usage"));
	stage->state = STAGE_DONE;
	stage->open = false;
	s->complete |= UINT64_C(1) << i;
}

static void take_failed(struct saga_stage *stage, const char *data, size_t len)
{
	stage->failed++;
	stage->open = false;
	stage->final = slice_is(slice_member(data, len, "final"), "true");
	stage->retry_at = slice_int(slice_member(data, len, "retry_at"), 0);
	stage->state = stage->final ? STAGE_FAILED : STAGE_BACKOFF;
	free(stage->reason);
	free(stage->message);
	stage->reason = copy(slice_text(slice_member(data, len, "reason")));
	stage->message = copy(slice_text(slice_member(data, len, "message")));
}

static void take_stage(struct saga *s, enum saga_type type, const char *data, size_t len)
{
	struct slice id = slice_text(slice_member(data, len, "stage"));
	int i = id.at != NULL && s->spec != NULL ? pipeline_find(s->spec, id.at, id.len) : -1;
	if (i < 0)
		return;
	struct saga_stage *stage = &s->stages[i];
	if (type == TASK_STAGE_STARTED) {
		int64_t attempt = slice_int(slice_member(data, len, "attempt"), 0);
		if (attempt > (int64_t)stage->attempt && attempt < INT32_MAX)
			stage->attempt = (unsigned)attempt;
		stage->open = true;
		stage->state = STAGE_WAITING;
	} else if (type == TASK_STAGE_COMPLETED) {
		take_completed(s, (size_t)i, data, len);
	} else {
		take_failed(stage, data, len);
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
		s->holder = 0; /* whoever gets the next ticket goes on with it */
		break;
	case TASK_STAGE_STARTED:
	case TASK_STAGE_COMPLETED:
	case TASK_STAGE_FAILED:
		take_stage(s, type, data, len);
		break;
	default:
		break;
	}
}
