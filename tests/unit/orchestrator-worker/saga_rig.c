#include "tests/unit/orchestrator-worker/saga_rig.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"

#define TASK        "0f0f0f0f-0000-8000-8000-000000000001"
#define ACCEPTED_ID "0f0f0f0f-0000-8000-8000-00000000000a"

/* saga.c asks for each transition that it makes whether it may (move()). Linked with --wrap, so
 * the transitions of a test program are known: a line each in the file SAGA_ARROWS. */
bool __real_saga_follows(enum saga_machine machine, unsigned from, unsigned to);
bool __wrap_saga_follows(enum saga_machine machine, unsigned from, unsigned to);

bool __wrap_saga_follows(enum saga_machine machine, unsigned from, unsigned to)
{
	static bool told[MACHINES][RIG_STATES][RIG_STATES];
	const char *path = getenv("SAGA_ARROWS");
	FILE *f;

	if (!__real_saga_follows(machine, from, to))
		return false;
	if (path != NULL && !told[machine][from][to] && (f = fopen(path, "a")) != NULL) {
		told[machine][from][to] = true;
		fprintf(f, "%d %u %u\n", (int)machine, from, to);
		fclose(f);
	}
	return true;
}

static char *quoted(const char *text)
{
	char *copy = xstrdup(text);
	for (char *p = copy; *p != '\0'; p++)
		if (*p == '\'')
			*p = '"';
	return copy;
}

static void begin(struct rig *r, const char *worker, uint64_t claim, const char *accepted)
{
	saga_init(&r->s, &(struct saga_setup){.tenant = "acme",
					      .task = TASK,
					      .pipeline = "p",
					      .worker = worker,
					      .version = 3,
					      .spec = r->spec,
					      .claim = claim,
					      .behind = r->behind,
					      .output_max = 1000,
					      .rng = &r->rng,
					      .accepted_id = ACCEPTED_ID,
					      .accepted_data = accepted,
					      .accepted_len = strlen(accepted),
					      .accepted_at = RIG_START});
	r->write = r->load = r->output = r->finished = false;
	memset(r->inputs, 0, sizeof(r->inputs));
	memset(r->calls, 0, sizeof(r->calls));
	memset(r->aborts, 0, sizeof(r->aborts));
	saga_begin(&r->s);
	rig_take(r);
	ck_assert(r->load);
}

static void append(struct rig *r, const char *id, const char *type, char *data)
{
	struct rig_event *e = &r->log[r->n_log++];
	e->seq = r->next_seq;
	r->next_seq += 3; /* other channels have events as well */
	snprintf(e->id, sizeof(e->id), "%s", id);
	snprintf(e->type, sizeof(e->type), "%s", type);
	e->data = data;
}

void rig_init(struct rig *r, const char *doc, const char *accepted, uint64_t claim)
{
	struct error err;
	memset(r, 0, sizeof(*r));
	rng_seed(&r->rng, 7);
	r->now = RIG_START;
	r->next_seq = 10;
	if (doc != NULL) {
		char *text = quoted(doc);
		json_t *json = json_parse(text, strlen(text), &err);
		ck_assert_msg(json != NULL, "%s", text);
		r->spec = pipeline_parse(json, &err);
		ck_assert_msg(r->spec != NULL, "%s", err.msg);
		json_decref(json);
		free(text);
	}
	char *members = quoted(accepted);
	struct strbuf b = {0};
	strbuf_addf(&b, "{\"task\":\"%s\",\"input\":{\"q\":1}%s}", TASK, members);
	free(members);
	append(r, ACCEPTED_ID, "task.accepted", strbuf_detach(&b, NULL));
	begin(r, "w1", claim, r->log[0].data);
}

void rig_again(struct rig *r, const char *worker, uint64_t claim)
{
	saga_done(&r->s);
	begin(r, worker, claim, r->log[0].data);
}

void rig_done(struct rig *r)
{
	saga_done(&r->s);
	pipeline_unref(r->spec);
	for (size_t i = 0; i < r->n_log; i++)
		free(r->log[i].data);
}

void rig_append(struct rig *r, const char *type, const char *data)
{
	char id[ID_LEN + 1];
	snprintf(id, sizeof(id), "foreign-%zu", r->n_log);
	append(r, id, type, quoted(data));
}

void rig_take(struct rig *r)
{
	struct saga_action a;
	while (saga_next(&r->s, &a)) {
		ck_assert_msg(!r->finished, "an action behind the end");
		switch (a.type) {
		case ACTION_LOAD:
			r->load = true;
			r->load_after = a.after;
			break;
		case ACTION_WRITE:
			ck_assert_msg(!r->write, "two writes at once");
			r->write = true;
			break;
		case ACTION_INPUT:
			r->inputs[a.stage]++;
			break;
		case ACTION_CALL:
			r->calls[a.stage]++;
			r->attempts[a.stage] = a.attempt;
			break;
		case ACTION_ABORT:
			r->aborts[a.stage]++;
			break;
		case ACTION_OUTPUT:
			r->output = true;
			break;
		case ACTION_FINISH:
			r->finished = true;
			r->verdict = a.verdict;
			break;
		}
	}
}

void rig_load(struct rig *r)
{
	ck_assert(r->load);
	r->load = false;
	for (size_t i = 0; i < r->n_log; i++) {
		const struct rig_event *e = &r->log[i];
		if (e->seq > r->load_after)
			saga_fold(&r->s, e->seq, e->id, e->type, e->data, strlen(e->data));
	}
	saga_loaded(&r->s, r->n_log == 0, r->now);
	rig_take(r);
}

void rig_written(struct rig *r, enum saga_write_result result)
{
	ck_assert(r->write);
	r->write = false;
	saga_written(&r->s, result, result == WRITTEN ? rig_last(r)->seq : 0, r->now);
	rig_take(r);
}

/* As the stream does it: a known id is a duplicate, then the expected sequence must be the last
 * one. */
void rig_write(struct rig *r)
{
	const struct saga_write *w = &r->s.write;
	uint64_t last = r->n_log > 0 ? rig_last(r)->seq : 0;
	ck_assert(r->write);
	if (r->n_log > 0 && strcmp(rig_last(r)->id, w->id.text) == 0) {
		rig_written(r, WRITTEN);
		return;
	}
	if ((uint64_t)w->expect != last) {
		rig_written(r, WRITE_CONFLICT);
		return;
	}
	struct error err;
	json_t *data = json_parse(w->data.data, w->data.len, &err); /* it is JSON */
	ck_assert_msg(data != NULL, "%s", w->data.data);
	json_decref(data);
	append(r, w->id.text, saga_type_name(w->type), xstrdup(w->data.data));
	rig_written(r, WRITTEN);
}

void rig_writes(struct rig *r)
{
	while (r->write)
		rig_write(r);
}

static struct saga_outcome ok(const char *text)
{
	return (struct saga_outcome){
	    .text = text, .len = strlen(text), .latency_ms = -1, .first_token_ms = -1};
}

void rig_start(struct rig *r, const char *doc, const char *accepted)
{
	rig_init(r, doc, accepted, RIG_CLAIM);
	rig_load(r);
	rig_writes(r);
}

void rig_resume(struct rig *r, const char *worker, uint64_t claim)
{
	rig_again(r, worker, claim);
	rig_load(r);
	rig_writes(r);
}

void rig_ends(struct rig *r, enum saga_verdict verdict, enum saga_state state)
{
	ck_assert(r->finished);
	ck_assert_int_eq(r->verdict, verdict);
	ck_assert_int_eq(r->s.state, state);
	ck_assert_int_eq(saga_wake_at(&r->s), 0);
	rig_done(r);
}

void rig_input(struct rig *r, size_t stage, const char *text)
{
	struct saga_outcome outcome = ok(text);
	ck_assert_uint_gt(r->inputs[stage], 0);
	saga_input(&r->s, stage, &outcome, r->now);
	rig_take(r);
}

void rig_call(struct rig *r, size_t stage, const char *text)
{
	struct saga_outcome outcome = ok(text);
	ck_assert_uint_gt(r->calls[stage], 0);
	saga_called(&r->s, stage, r->attempts[stage], &outcome, r->now);
	rig_take(r);
}

void rig_call_fails(struct rig *r, size_t stage, enum saga_class class, int64_t retry_after_ms)
{
	struct saga_outcome outcome = {.class = class,
				       .reason = "upstream_error",
				       .message = "HTTP 500",
				       .retry_after_ms = retry_after_ms};
	saga_called(&r->s, stage, r->attempts[stage], &outcome, r->now);
	rig_take(r);
}

void rig_tick(struct rig *r, int64_t ms)
{
	r->now += ms;
	saga_tick(&r->s, r->now);
	rig_take(r);
}

const char *rig_types(const struct rig *r)
{
	static char out[4000];
	out[0] = '\0';
	for (size_t i = 0; i < r->n_log; i++) {
		size_t len = strlen(out);
		snprintf(out + len, sizeof(out) - len, "%s%s", i > 0 ? " " : "",
			 r->log[i].type + strlen("task."));
	}
	return out;
}

const struct rig_event *rig_last(const struct rig *r)
{
	return &r->log[r->n_log - 1];
}

void rig_last_has(const struct rig *r, const char *type, const char *part)
{
	char *text = quoted(part);
	ck_assert_str_eq(rig_last(r)->type, type);
	ck_assert_msg(strstr(rig_last(r)->data, text) != NULL, "%s has no %s", rig_last(r)->data,
		      text);
	free(text);
}
