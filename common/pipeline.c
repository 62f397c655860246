#include "common/pipeline.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/names.h"
#include "common/strbuf.h"

#define HOUR_MS  3600000
#define MONTH_MS (INT64_C(30) * 24 * HOUR_MS)

static const char *const kinds[] = {
    [KIND_TRANSFORM] = "transform", [KIND_CHAT] = "chat",       [KIND_HTTP] = "http",
    [KIND_EMBED] = "embed",         [KIND_PUBLISH] = "publish", [KIND_WAIT] = "wait",
};

const char *stage_kind_name(enum stage_kind kind)
{
	return kinds[kind];
}

static int parse_kind(const char *text, enum stage_kind *kind, struct error *err)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(kinds[i], text) == 0) {
			*kind = (enum stage_kind)i;
			return 0;
		}
	}
	return err_set(err, ERR_REJECTED, "unknown kind \"%.40s\"", text);
}

static int parse_factor(const json_t *retry, double *factor, struct error *err)
{
	const json_t *value = json_object_get(retry, "factor");
	if (value == NULL)
		return 0;
	double f = json_is_number(value) ? json_number_value(value) : 0;
	if (!(f >= 1 && f <= 100))
		return err_set(err, ERR_REJECTED, "factor must be a number from 1 to 100");
	*factor = f;
	return 0;
}

static int parse_retry(const json_t *stage, struct retry_policy *out, struct error *err)
{
	static const char *const members[] = {"max_attempts", "initial_ms", "factor", "max_ms",
					      NULL};
	*out = (struct retry_policy){
	    .max_attempts = 4, .initial_ms = 500, .factor = 2, .max_ms = 30000};
	const json_t *retry = json_object_get(stage, "retry");
	if (retry == NULL)
		return 0;
	if (!json_is_object(retry))
		return err_set(err, ERR_REJECTED, "retry must be an object");
	if (json_only(retry, members, err) ||
	    json_get_int(retry, "max_attempts", false, 1, 100, &out->max_attempts, err) ||
	    json_get_int(retry, "initial_ms", false, 0, HOUR_MS, &out->initial_ms, err) ||
	    json_get_int(retry, "max_ms", false, 0, 24 * HOUR_MS, &out->max_ms, err) ||
	    parse_factor(retry, &out->factor, err))
		return err_wrap(err, "retry");
	return 0;
}

static int copy_program(const json_t *obj, const char *name, char **out, struct error *err)
{
	const char *text;
	if (json_get_text(obj, name, false, &text, err))
		return -1;
	if (text == NULL)
		return 0;
	if (text[0] == '\0' || strlen(text) > PIPELINE_PROGRAM_MAX)
		return err_set(err, ERR_REJECTED, "%s must be a jq program of at most %d bytes",
			       name, PIPELINE_PROGRAM_MAX);
	*out = xstrdup(text);
	return 0;
}

/* The programs stand in parentheses and end in a new line, for they may define functions and end
 * in a comment. */
static char *make_program(const char *when, const char *input)
{
	struct strbuf b = {0};
	if (when == NULL)
		return input != NULL ? xstrdup(input) : NULL;
	strbuf_addf(&b, "if (%s\n) then (%s\n) as $penstock | [$penstock] else [] end", when,
		    input != NULL ? input : "null");
	return strbuf_detach(&b, NULL);
}

static int parse_model(const json_t *doc, struct stage_spec *stage, struct error *err)
{
	const char *model;
	if (json_get_text(doc, "model", false, &model, err))
		return -1;
	bool needs = stage->kind == KIND_CHAT || stage->kind == KIND_EMBED;
	if (model == NULL)
		return needs ? err_set(err, ERR_REJECTED, "%s needs a model", kinds[stage->kind])
			     : 0;
	if (!needs && stage->kind != KIND_HTTP)
		return err_set(err, ERR_REJECTED, "%s takes no model", kinds[stage->kind]);
	if (!name_valid_tenant(model))
		return err_set(err, ERR_REJECTED, "model is no valid name");
	stage->model = xstrdup(model);
	return 0;
}

static int parse_stage(const json_t *doc, struct stage_spec *stage, struct error *err)
{
	static const char *const members[] = {"id",
					      "kind",
					      "needs",
					      "when",
					      "input",
					      "model",
					      "retry",
					      "max_tokens",
					      "max_output_bytes",
					      "timeout_ms",
					      "start_within_ms",
					      "deadline_ms",
					      NULL};
	const char *id, *kind;
	if (!json_is_object(doc))
		return err_set(err, ERR_REJECTED, "a stage must be an object");
	if (json_get_text(doc, "id", true, &id, err))
		return -1;
	if (!name_valid_tenant(id))
		return err_set(err, ERR_REJECTED, "id must be 1 to %d letters, digits, _ or -",
			       TENANT_MAX);
	stage->id = xstrdup(id);
	if (json_only(doc, members, err) || json_get_text(doc, "kind", true, &kind, err) ||
	    parse_kind(kind, &stage->kind, err) || copy_program(doc, "input", &stage->input, err) ||
	    copy_program(doc, "when", &stage->when, err) || parse_model(doc, stage, err) ||
	    json_get_int(doc, "max_tokens", false, 1, 100000000, &stage->max_tokens, err) ||
	    json_get_int(doc, "max_output_bytes", false, 1, 1000000, &stage->output_max, err) ||
	    json_get_int(doc, "timeout_ms", false, 1, 24 * HOUR_MS, &stage->timeout_ms, err) ||
	    json_get_int(doc, "start_within_ms", false, 1, MONTH_MS, &stage->start_within_ms,
			 err) ||
	    json_get_int(doc, "deadline_ms", false, 1, MONTH_MS, &stage->deadline_ms, err) ||
	    parse_retry(doc, &stage->retry, err))
		return err_wrap(err, "stage %s", id);
	stage->program = make_program(stage->when, stage->input);
	return 0;
}

static int parse_needs(const json_t *doc, struct pipeline_spec *spec, size_t at, struct error *err)
{
	struct stage_spec *stage = &spec->stages[at];
	const json_t *needs = json_object_get(doc, "needs");
	if (needs == NULL)
		return 0;
	if (!json_is_array(needs))
		return err_set(err, ERR_REJECTED, "stage %s: needs must be an array", stage->id);
	size_t i;
	const json_t *item;
	json_array_foreach(needs, i, item)
	{
		const char *id = json_string_value(item);
		int need = id == NULL ? -1 : pipeline_find(spec, id, strlen(id));
		if (need < 0)
			return err_set(err, ERR_REJECTED,
				       "stage %s needs \"%.64s\", which is no stage", stage->id,
				       id == NULL ? "?" : id);
		stage->needs |= UINT64_C(1) << need;
	}
	return 0;
}

/* Kahn's algorithm: take away the stages whose needs are all taken away; what stays is in a circle.
 */
static int close_needs(struct pipeline_spec *spec, struct error *err)
{
	uint64_t taken = 0, all = spec->n == 64 ? UINT64_MAX : (UINT64_C(1) << spec->n) - 1;
	for (bool moved = true; moved;) {
		moved = false;
		for (size_t i = 0; i < spec->n; i++) {
			struct stage_spec *stage = &spec->stages[i];
			if ((taken >> i & 1) != 0 || (stage->needs & ~taken) != 0)
				continue;
			stage->above = stage->needs;
			for (size_t k = 0; k < spec->n; k++)
				if ((stage->needs >> k & 1) != 0)
					stage->above |= spec->stages[k].above;
			taken |= UINT64_C(1) << i;
			moved = true;
		}
	}
	spec->leaves = all;
	for (size_t i = 0; i < spec->n; i++) {
		if ((taken >> i & 1) == 0)
			return err_set(err, ERR_REJECTED, "stage %s needs itself in a circle",
				       spec->stages[i].id);
		spec->leaves &= ~spec->stages[i].needs;
	}
	return 0;
}

static int parse_stages(const json_t *list, struct pipeline_spec *spec, struct error *err)
{
	size_t i;
	const json_t *item;
	json_array_foreach(list, i, item)
	{
		spec->n = i + 1; /* so that what a failing stage holds is freed */
		if (parse_stage(item, &spec->stages[i], err))
			return -1;
		const char *id = spec->stages[i].id;
		if (pipeline_find(spec, id, strlen(id)) != (int)i)
			return err_set(err, ERR_REJECTED, "two stages are called %s", id);
	}
	json_array_foreach(list, i, item)
	{
		if (parse_needs(item, spec, i, err))
			return -1;
	}
	return close_needs(spec, err);
}

static int parse_pool(const json_t *doc, struct pipeline_spec *spec, struct error *err)
{
	const char *pool = NULL;
	if (json_get_text(doc, "pool", false, &pool, err))
		return -1;
	spec->batch = pool != NULL && strcmp(pool, "batch") == 0;
	if (pool != NULL && !spec->batch && strcmp(pool, "interactive") != 0)
		return err_set(err, ERR_REJECTED, "pool: must be interactive or batch");
	return 0;
}

static void estimate(struct pipeline_spec *spec)
{
	for (size_t i = 0; i < spec->n; i++) {
		const struct stage_spec *stage = &spec->stages[i];
		if (stage->kind != KIND_CHAT && stage->kind != KIND_EMBED)
			continue;
		spec->model_calls++;
		if (stage->kind == KIND_CHAT)
			spec->answer_tokens +=
			    stage->max_tokens > 0 ? stage->max_tokens : PIPELINE_TOKENS;
	}
}

struct pipeline_spec *pipeline_parse(const json_t *doc, struct error *err)
{
	const json_t *list = json_object_get(doc, "stages");
	size_t n = json_array_size(list);
	if (!json_is_object(doc) || n == 0 || n > PIPELINE_STAGES_MAX) {
		err_set(err, ERR_REJECTED, "stages must be an array of 1 to %d stages",
			PIPELINE_STAGES_MAX);
		return NULL;
	}
	struct pipeline_spec *spec = xcalloc(1, sizeof(*spec));
	spec->refs = 1;
	spec->stages = xcalloc(n, sizeof(*spec->stages));
	if (parse_stages(list, spec, err) || copy_program(doc, "output", &spec->output, err) ||
	    parse_pool(doc, spec, err)) {
		pipeline_unref(spec);
		return NULL;
	}
	estimate(spec);
	return spec;
}

struct pipeline_spec *pipeline_ref(struct pipeline_spec *spec)
{
	spec->refs++;
	return spec;
}

void pipeline_unref(struct pipeline_spec *spec)
{
	if (spec == NULL)
		return;
	assert(spec->refs > 0);
	if (--spec->refs > 0)
		return;
	for (size_t i = 0; i < spec->n; i++) {
		free(spec->stages[i].id);
		free(spec->stages[i].input);
		free(spec->stages[i].when);
		free(spec->stages[i].program);
		free(spec->stages[i].model);
	}
	free(spec->stages);
	free(spec->output);
	free(spec);
}

int pipeline_find(const struct pipeline_spec *spec, const char *id, size_t len)
{
	for (size_t i = 0; i < spec->n; i++) {
		const char *other = spec->stages[i].id;
		if (other != NULL && strlen(other) == len && memcmp(other, id, len) == 0)
			return (int)i;
	}
	return -1;
}
