/* The texts that a saga makes: jq documents and the data of transitions. Outputs are spliced in as
 * they are. */
#include <string.h>

#include "services/orchestrator-worker/saga.h"

static void add_slice(struct strbuf *b, struct slice s)
{
	if (s.p == NULL)
		strbuf_adds(b, "null");
	else
		strbuf_add(b, s.p, s.len);
}

/* {"a":…,"b":…} of the outputs of these stages, in the pipeline's order. */
static void add_outputs(const struct saga *s, uint64_t which, struct strbuf *out)
{
	char sep = '{';
	for (size_t i = 0; i < s->n; i++) {
		if ((which >> i & 1) == 0 || s->stages[i].output == NULL)
			continue;
		strbuf_addc(out, sep);
		strbuf_add_json(out, s->spec->stages[i].id);
		strbuf_addc(out, ':');
		strbuf_add(out, s->stages[i].output, s->stages[i].output_len);
		sep = ',';
	}
	strbuf_adds(out, sep == '{' ? "{}" : "}");
}

void saga_document(const struct saga *s, size_t stage, struct strbuf *out)
{
	strbuf_adds(out, "{\"input\":");
	add_slice(out, s->input);
	strbuf_adds(out, ",\"stages\":");
	add_outputs(s, stage == s->n ? UINT64_MAX : s->spec->stages[stage].above, out);
	strbuf_adds(out, ",\"task\":{\"id\":");
	strbuf_add_json(out, s->task);
	strbuf_adds(out, ",\"tenant\":");
	strbuf_add_json(out, s->tenant);
	strbuf_adds(out, ",\"pipeline\":");
	strbuf_add_json(out, s->pipeline);
	strbuf_addf(out, ",\"version\":%u}}", s->version);
}

void saga_plain(const struct saga *s, size_t stage, struct strbuf *out)
{
	uint64_t which = stage == s->n ? s->spec->leaves : s->spec->stages[stage].needs;
	if (which == 0) {
		add_slice(out, s->input);
		return;
	}
	if ((which & (which - 1)) == 0) {
		const struct saga_stage *only = &s->stages[__builtin_ctzll(which)];
		add_slice(out, (struct slice){only->output, only->output_len}); /* skipped: null */
		return;
	}
	add_outputs(s, which, out);
}

static void add_usage(struct strbuf *out, const struct saga_usage *u)
{
	strbuf_addf(out,
		    ",\"usage\":{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,"
		    "\"total_tokens\":%lld}",
		    (long long)u->prompt_tokens, (long long)u->completion_tokens,
		    (long long)u->total_tokens);
}

static void add_text(struct strbuf *out, const char *name, const char *text)
{
	strbuf_addf(out, ",\"%s\":", name);
	strbuf_add_json(out, text);
}

static void add_int(struct strbuf *out, const char *name, int64_t n)
{
	strbuf_addf(out, ",\"%s\":%lld", name, (long long)n);
}

static void add_stage(const struct saga *s, enum saga_type type, size_t i, int64_t now,
		      struct strbuf *out)
{
	const struct saga_stage *stage = &s->stages[i];
	const struct stage_spec *spec = &s->spec->stages[i];
	add_text(out, "stage", spec->id);
	if (type != TASK_STAGE_FAILED)
		add_text(out, "kind", stage_kind_name(spec->kind));
	if (type != TASK_STAGE_SKIPPED)
		add_int(out, "attempt", stage->attempt);
	add_text(out, "worker", s->worker);
	if (type == TASK_STAGE_SKIPPED)
		return;
	if (type == TASK_STAGE_STARTED && stage->start_by > 0)
		add_int(out, "start_by", stage->start_by);
	if (type == TASK_STAGE_STARTED && stage->deadline_at > 0)
		add_int(out, "deadline_at", stage->deadline_at);
	if (type == TASK_STAGE_STARTED && spec->kind == KIND_WAIT)
		add_int(out, "since", stage->since);
	if (type == TASK_STAGE_FAILED) {
		add_text(out, "reason", stage->reason);
		add_text(out, "message", stage->message);
		strbuf_adds(out, stage->final ? ",\"final\":true" : ",\"final\":false");
		if (stage->put_off)
			strbuf_adds(out, ",\"throttled\":true");
		if (!stage->final)
			add_int(out, "retry_at", stage->retry_at);
		if (stage->put_off)
			add_int(out, "throttled_since", stage->throttled_since);
	}
	if (type == TASK_STAGE_COMPLETED) {
		strbuf_adds(out, ",\"output\":");
		strbuf_add(out, stage->output, stage->output_len);
		add_int(out, "duration_ms", now > stage->started_at ? now - stage->started_at : 0);
		if (stage->latency_ms >= 0)
			add_int(out, "latency_ms", stage->latency_ms);
		if (stage->first_token_ms >= 0)
			add_int(out, "first_token_ms", stage->first_token_ms);
		if (stage->has_usage)
			add_usage(out, &stage->usage);
	}
	if (spec->model != NULL)
		add_text(out, "model", stage->model != NULL ? stage->model : spec->model);
}

/* Since when the stages' calls are held, those of them that are. */
static void add_held(const struct saga *s, struct strbuf *out)
{
	bool any = false;
	for (size_t i = 0; i < s->n; i++) {
		if (s->stages[i].held_since == 0)
			continue;
		strbuf_adds(out, any ? "," : ",\"held_since\":{");
		strbuf_add_json(out, s->spec->stages[i].id);
		strbuf_addf(out, ":%lld", (long long)s->stages[i].held_since);
		any = true;
	}
	if (any)
		strbuf_addc(out, '}');
}

static void add_completed(const struct saga *s, int64_t now, struct strbuf *out)
{
	struct saga_usage sum = {0};
	for (size_t i = 0; i < s->n; i++) {
		sum.prompt_tokens += s->stages[i].usage.prompt_tokens;
		sum.completion_tokens += s->stages[i].usage.completion_tokens;
		sum.total_tokens += s->stages[i].usage.total_tokens;
	}
	strbuf_adds(out, ",\"output\":");
	strbuf_add(out, s->output, s->output_len);
	add_usage(out, &sum);
	add_int(out, "duration_ms", now > s->accepted_at ? now - s->accepted_at : 0);
}

void saga_write_data(const struct saga *s, enum saga_type type, size_t stage, int64_t now,
		     struct strbuf *out)
{
	if (type == TASK_ACCEPTED) {
		strbuf_add(out, s->accepted.data, s->accepted.len);
		return;
	}
	strbuf_adds(out, "{\"task\":");
	strbuf_add_json(out, s->task);
	switch (type) {
	case TASK_STARTED:
		add_text(out, "worker", s->worker);
		add_int(out, "claim", (int64_t)s->claim);
		add_int(out, "run", s->run + 1);
		break;
	case TASK_PARKED:
		add_text(out, "stage", s->spec->stages[stage].id);
		add_text(out, "reason", s->stages[stage].reason);
		add_int(out, "not_before", s->stages[stage].retry_at);
		add_held(s, out);
		break;
	case TASK_HANDED_OFF:
		add_text(out, "worker", s->worker);
		add_held(s, out);
		break;
	case TASK_STAGE_STARTED:
	case TASK_STAGE_COMPLETED:
	case TASK_STAGE_FAILED:
	case TASK_STAGE_SKIPPED:
		add_stage(s, type, stage, now, out);
		break;
	case TASK_COMPLETED:
		add_completed(s, now, out);
		break;
	case TASK_FAILED:
		add_text(out, "stage",
			 s->has_failed_stage ? s->spec->stages[s->failed_stage].id : "");
		add_text(out, "reason", s->reason);
		add_text(out, "message", s->message);
		break;
	default: /* task.expired: the task alone */
		break;
	}
	strbuf_addc(out, '}');
}
