#include "services/event-store/project.h"

#include <stdlib.h>
#include <string.h>

#include "common/json.h"

#define TASK_PREFIX "task."
#define TIME_MAX_MS INT64_C(4000000000000) /* the year 2096 */

static const char *const state_names[] = {"none",      "accepted", "running",   "parked",
					  "completed", "failed",   "cancelled", "expired"};

const char *project_state_name(enum project_state state)
{
	return state_names[state];
}

enum project_state project_state_parse(const char *word)
{
	for (int i = PROJECT_ACCEPTED; i <= PROJECT_EXPIRED; i++)
		if (!strcmp(word, state_names[i]))
			return (enum project_state)i;
	return PROJECT_NONE;
}

bool project_final(enum project_state state)
{
	return state >= PROJECT_COMPLETED;
}

const char *project_task_of(const char *channel)
{
	size_t n = strlen(TASK_PREFIX);
	return !strncmp(channel, TASK_PREFIX, n) && channel[n] ? channel + n : NULL;
}

bool project_is_transition(const char *channel, const char *type)
{
	return project_task_of(channel) && !strncmp(type, TASK_PREFIX, strlen(TASK_PREFIX));
}

/* --- reading the data: what is missing or of the wrong type is simply not there --------------- */

static const char *text_of(const json_t *data, const char *name)
{
	return json_string_value(json_object_get(data, name));
}

static int64_t int_of(const json_t *data, const char *name)
{
	return json_integer_value(json_object_get(data, name));
}

static void replace_text(char **place, const char *text)
{
	if (!text)
		return;
	free(*place);
	*place = xstrdup(text);
}

static void replace_json(json_t **place, json_t *value)
{
	if (!value)
		return;
	json_incref(value);
	json_decref(*place);
	*place = value;
}

/* --- stages ------------------------------------------------------------------------------------
 */

static json_t *stage_of(struct project_task *t, const char *id)
{
	size_t i;
	json_t *stage;

	json_array_foreach(t->stages, i, stage)
	{
		const char *known = text_of(stage, "id");
		if (known && !strcmp(known, id))
			return stage;
	}
	stage = json_object();
	json_object_set_new(stage, "id", json_string(id));
	json_array_append_new(t->stages, stage);
	return stage;
}

static void set_text(json_t *stage, const char *name, const char *text)
{
	json_object_set_new(stage, name, json_string(text));
}

static void set_ms(json_t *stage, const char *name, int64_t time_us)
{
	json_object_set_new(stage, name, json_integer(time_us / 1000));
}

static void copy_members(json_t *stage, const json_t *data, const char *const *names)
{
	for (; *names; names++) {
		json_t *value = json_object_get(data, *names);
		if (value && !json_is_null(value))
			json_object_set(stage, *names, value);
	}
}

/* What belongs to one attempt only and must not show through into the next. */
static void clear_attempt(json_t *stage)
{
	static const char *const names[] = {"finished_at",    "duration_ms", "latency_ms",
					    "first_token_ms", "usage",       "error",
					    "retry_at",       "not_before"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		json_object_del(stage, names[i]);
}

static json_t *error_of(const json_t *data, bool with_stage)
{
	json_t *error = json_object();
	static const char *const names[] = {"reason", "message", NULL};

	if (with_stage && text_of(data, "stage"))
		set_text(error, "stage", text_of(data, "stage"));
	copy_members(error, data, names);
	return error;
}

static void add_usage(struct project_task *t, const json_t *usage)
{
	const char *name;
	json_t *value;

	if (!json_is_object(usage))
		return;
	if (!t->usage)
		t->usage = json_object();
	json_object_foreach((json_t *)usage, name, value)
	{
		if (json_is_integer(value))
			json_object_set_new(
			    t->usage, name,
			    json_integer(int_of(t->usage, name) + json_integer_value(value)));
	}
}

static void stage_started(struct project_task *t, const json_t *data, int64_t now_us)
{
	static const char *const names[] = {"kind", "attempt", "worker", "model", NULL};
	const char *id = text_of(data, "stage");

	if (!id)
		return;
	json_t *stage = stage_of(t, id);
	clear_attempt(stage);
	set_text(stage, "state", "running");
	copy_members(stage, data, names);
	set_ms(stage, "started_at", now_us);
	replace_text(&t->worker, text_of(data, "worker"));
	t->attempts++;
	t->state = PROJECT_RUNNING;
}

static void stage_completed(struct project_task *t, const json_t *data, int64_t now_us)
{
	static const char *const names[] = {"kind",           "attempt", "worker",
					    "duration_ms",    "model",   "latency_ms",
					    "first_token_ms", "usage",   NULL};
	const char *id = text_of(data, "stage");

	if (!id)
		return;
	json_t *stage = stage_of(t, id);
	clear_attempt(stage);
	set_text(stage, "state", "completed");
	copy_members(stage, data, names);
	set_ms(stage, "finished_at", now_us);
	add_usage(t, json_object_get(data, "usage"));
	t->state = PROJECT_RUNNING;
}

static void stage_skipped(struct project_task *t, const json_t *data, int64_t now_us)
{
	static const char *const names[] = {"kind", NULL};
	const char *id = text_of(data, "stage");

	if (!id)
		return;
	json_t *stage = stage_of(t, id);
	clear_attempt(stage);
	set_text(stage, "state", "skipped");
	copy_members(stage, data, names);
	set_ms(stage, "finished_at", now_us);
	t->state = PROJECT_RUNNING;
}

static void stage_failed(struct project_task *t, const json_t *data, int64_t now_us)
{
	static const char *const names[] = {"attempt", "worker", "retry_at", "model", NULL};
	const char *id = text_of(data, "stage");
	bool final = json_is_true(json_object_get(data, "final"));

	if (!id)
		return;
	json_t *stage = stage_of(t, id);
	clear_attempt(stage);
	set_text(stage, "state", final ? "failed" : "retrying");
	copy_members(stage, data, names);
	set_ms(stage, "finished_at", now_us);
	json_object_set_new(stage, "error", error_of(data, false));
}

/* Nobody waits beyond the deadline: whoever takes the task up then lets it expire. */
static void rest(struct project_task *t, int64_t until_ms, int64_t now_us)
{
	t->state = PROJECT_PARKED;
	if (t->deadline_ms && t->deadline_ms < until_ms)
		until_ms = t->deadline_ms;
	t->release_us = until_ms > 0 && until_ms < TIME_MAX_MS ? until_ms * 1000 : now_us;
}

static void parked(struct project_task *t, const json_t *data, int64_t now_us)
{
	static const char *const names[] = {"not_before", NULL};
	const char *id = text_of(data, "stage");

	rest(t, int_of(data, "not_before"), now_us);
	if (!id)
		return;
	json_t *stage = stage_of(t, id);
	set_text(stage, "state", "parked");
	copy_members(stage, data, names);
}

/* --- the task ----------------------------------------------------------------------------------
 */

/* With a not_before it waits for its ticket as a parked one does; also if it is accepted again, by
 * a repeat that found nothing of it in the stream any more. */
static void accepted(struct project_task *t, const json_t *data, int64_t now_us)
{
	int64_t not_before_ms = int_of(data, "not_before");

	replace_text(&t->pipeline, text_of(data, "pipeline"));
	t->version = (int)int_of(data, "version");
	t->deadline_ms = int_of(data, "deadline_at");
	replace_json(&t->input, json_object_get(data, "input"));
	bool begun = t->state != PROJECT_NONE && (t->state != PROJECT_PARKED || t->started_us);
	if (!begun && not_before_ms > 0)
		rest(t, not_before_ms, now_us);
	else if (t->state == PROJECT_NONE)
		t->state = PROJECT_ACCEPTED;
}

static void started(struct project_task *t, const json_t *data, int64_t now_us)
{
	t->state = PROJECT_RUNNING;
	if (!t->started_us)
		t->started_us = now_us;
	replace_text(&t->worker, text_of(data, "worker"));
	if (int_of(data, "run") > 0)
		t->run = (int)int_of(data, "run");
}

/* A stage that was under way when the task ended did not end by itself. */
static void finish(struct project_task *t, enum project_state state, int64_t now_us)
{
	size_t i;
	json_t *stage;

	t->state = state;
	t->finished_us = now_us;
	json_array_foreach(t->stages, i, stage)
	{
		const char *was = text_of(stage, "state");
		if (was && strcmp(was, "completed") != 0 && strcmp(was, "failed") != 0 &&
		    strcmp(was, "skipped") != 0)
			set_text(stage, "state", project_state_name(state));
	}
}

static void stopped(struct project_task *t, const json_t *data, enum project_state state,
		    int64_t now_us)
{
	const char *by = text_of(data, "by");
	json_t *error = json_object();

	set_text(error, "reason", project_state_name(state));
	if (by)
		json_object_set_new(error, "message", json_sprintf("cancelled by %s", by));
	else
		set_text(error, "message",
			 state == PROJECT_EXPIRED ? "its deadline passed" : "cancelled");
	replace_json(&t->error, error);
	json_decref(error);
	finish(t, state, now_us);
}

/* A dead letter lives again: what is complete stays, and it waits for its ticket as a parked one
 * does. Its old deadline holds no more. */
static void redriven(struct project_task *t, const struct project_event *e)
{
	size_t i;
	json_t *stage;

	t->state = PROJECT_PARKED;
	t->release_us = e->time_us;
	t->finished_us = t->deadline_ms = 0;
	t->redrive_gen++;
	t->first_seq = e->seq; /* what is before may have been trimmed already */
	json_decref(t->error);
	t->error = NULL;
	json_array_foreach(t->stages, i, stage)
	{
		const char *was = text_of(stage, "state");
		if (was && strcmp(was, "completed") != 0)
			set_text(stage, "state", "parked");
	}
}

static void fold(struct project_task *t, const char *type, const json_t *data, int64_t now_us)
{
	if (!strcmp(type, "task.accepted")) {
		accepted(t, data, now_us);
	} else if (!strcmp(type, "task.started")) {
		started(t, data, now_us);
	} else if (!strcmp(type, "task.stage.started")) {
		stage_started(t, data, now_us);
	} else if (!strcmp(type, "task.stage.completed")) {
		stage_completed(t, data, now_us);
	} else if (!strcmp(type, "task.stage.failed")) {
		stage_failed(t, data, now_us);
	} else if (!strcmp(type, "task.stage.skipped")) {
		stage_skipped(t, data, now_us);
	} else if (!strcmp(type, "task.parked")) {
		parked(t, data, now_us);
	} else if (!strcmp(type, "task.completed")) {
		replace_json(&t->output, json_object_get(data, "output"));
		replace_json(&t->usage, json_object_get(data, "usage"));
		finish(t, PROJECT_COMPLETED, now_us);
	} else if (!strcmp(type, "task.failed")) {
		json_t *error = error_of(data, true);
		replace_json(&t->error, error);
		json_decref(error);
		finish(t, PROJECT_FAILED, now_us);
	} else if (!strcmp(type, "task.cancelled")) {
		stopped(t, data, PROJECT_CANCELLED, now_us);
	} else if (!strcmp(type, "task.expired")) {
		stopped(t, data, PROJECT_EXPIRED, now_us);
	}
}

static bool known_already(const struct project_task *t, const struct project_event *e)
{
	return e->epoch < t->epoch || (e->epoch == t->epoch && e->seq <= t->last_seq);
}

bool project_apply(struct project_task *t, const struct project_event *e)
{
	if (t->task && (known_already(t, e) || strcmp(t->tenant, e->tenant) != 0))
		return false;
	if (!t->task) {
		t->task = xstrdup(project_task_of(e->channel));
		t->tenant = xstrdup(e->tenant);
		t->pipeline = xstrdup("");
		t->stages = json_array();
		t->created_us = e->time_us;
	}
	/* Another life of the stream: what holds the trim point is where the task is in this one.
	 */
	if (t->epoch != e->epoch)
		t->first_seq = e->seq;
	t->epoch = e->epoch;
	t->last_seq = e->seq;
	t->updated_us = e->time_us;
	if (project_final(t->state)) {
		if (!strcmp(e->type, "task.redriven") &&
		    (t->state == PROJECT_FAILED || t->state == PROJECT_EXPIRED))
			redriven(t, e);
		return true;
	}
	t->release_us = 0;
	json_t *data = e->len ? json_parse(e->data, e->len, NULL) : NULL;
	fold(t, e->type, data, e->time_us);
	json_decref(data);
	if (t->state == PROJECT_NONE)
		t->state = PROJECT_ACCEPTED; /* a type of the future: at least it exists */
	return true;
}

void project_done(struct project_task *t)
{
	if (!t)
		return;
	free(t->task);
	free(t->tenant);
	free(t->pipeline);
	free(t->worker);
	json_decref(t->input);
	json_decref(t->output);
	json_decref(t->error);
	json_decref(t->usage);
	json_decref(t->stages);
	*t = (struct project_task){0};
}
