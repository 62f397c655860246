/* A projected task as JSON: what clients and the timeline see. */
#include <string.h>

#include "services/event-store/project.h"

static json_t *ms(int64_t time_us)
{
	return time_us ? json_integer(time_us / 1000) : json_null();
}

static json_t *or_null(json_t *value)
{
	return value ? json_incref(value) : json_null();
}

json_t *project_json(const struct project_task *t)
{
	json_t *out = json_object();

	json_object_set_new(out, "task", json_string(t->task));
	json_object_set_new(out, "tenant", json_string(t->tenant));
	json_object_set_new(out, "pipeline", json_string(t->pipeline));
	json_object_set_new(out, "version", json_integer(t->version));
	json_object_set_new(out, "state", json_string(project_state_name(t->state)));
	json_object_set_new(out, "created_at", ms(t->created_us));
	json_object_set_new(out, "started_at", ms(t->started_us));
	json_object_set_new(out, "finished_at", ms(t->finished_us));
	if (t->deadline_ms)
		json_object_set_new(out, "deadline_at", json_integer(t->deadline_ms));
	if (t->release_us)
		json_object_set_new(out, "release_at", ms(t->release_us));
	if (t->release_us && !t->started_us && !t->redrive_gen)
		json_object_set_new(out, "not_before", ms(t->release_us));
	if (t->redrive_gen)
		json_object_set_new(out, "redrive_gen", json_integer(t->redrive_gen));
	if (t->input)
		json_object_set(out, "input", t->input);
	json_object_set_new(out, "output", or_null(t->output));
	json_object_set_new(out, "error", or_null(t->error));
	json_object_set_new(out, "usage", or_null(t->usage));
	json_object_set(out, "stages", t->stages);
	json_object_set_new(out, "worker", t->worker ? json_string(t->worker) : json_null());
	json_object_set_new(out, "run", json_integer(t->run));
	json_object_set_new(out, "attempts", json_integer(t->attempts));
	json_object_set_new(out, "offset", json_integer((json_int_t)t->last_seq));
	return out;
}

/* to_ms 0: still going on. */
static json_t *span(const char *name, int64_t base_ms, int64_t from_ms, int64_t to_ms,
		    const char *state)
{
	json_t *out = json_object();

	json_object_set_new(out, "name", json_string(name));
	json_object_set_new(out, "start_ms", json_integer(from_ms - base_ms));
	if (to_ms)
		json_object_set_new(out, "duration_ms", json_integer(to_ms - from_ms));
	json_object_set_new(out, "state", json_string(state ? state : ""));
	return out;
}

json_t *project_spans(const struct project_task *t)
{
	json_t *out = json_array(), *stage;
	int64_t base = t->created_us / 1000;
	size_t i;

	json_array_append_new(
	    out, span("task", base, base, t->finished_us / 1000, project_state_name(t->state)));
	int64_t waited_until = t->started_us ? t->started_us : t->finished_us;
	json_array_append_new(out, span("queued", base, base, waited_until / 1000,
					t->started_us ? "completed" : "waiting"));
	json_array_foreach(t->stages, i, stage)
	{
		int64_t from = json_integer_value(json_object_get(stage, "started_at"));
		int64_t to = json_integer_value(json_object_get(stage, "finished_at"));
		if (!from)
			continue;
		json_t *s = span("stage", base, from, to,
				 json_string_value(json_object_get(stage, "state")));
		json_object_set(s, "stage", json_object_get(stage, "id"));
		if (json_object_get(stage, "attempt"))
			json_object_set(s, "attempt", json_object_get(stage, "attempt"));
		json_array_append_new(out, s);
	}
	return out;
}
