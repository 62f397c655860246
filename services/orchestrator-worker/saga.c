#include "services/orchestrator-worker/saga.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define PAUSE_INITIAL_MS 100
#define PAUSE_MAX_MS     5000
#define REFUSED_MAX      5
#define SPURIOUS_MAX     20
#define OUTPUT_AGAIN_MS  500

#define B(state) (1U << (state))

/* Which states may follow which. */
static const unsigned task_next[] = {
    [SAGA_LOADING] =
	B(SAGA_ACCEPTING) | B(SAGA_STARTING) | B(SAGA_ENDING) | B(SAGA_ENDED) | B(SAGA_DROPPED),
    [SAGA_ACCEPTING] = B(SAGA_STARTING) | B(SAGA_ENDING) | B(SAGA_ENDED) | B(SAGA_DROPPED),
    [SAGA_STARTING] = B(SAGA_RUNNING) | B(SAGA_ENDING) | B(SAGA_ENDED) | B(SAGA_DROPPED),
    [SAGA_RUNNING] = B(SAGA_OUTPUT) | B(SAGA_ENDING) | B(SAGA_ENDED) | B(SAGA_DROPPED),
    [SAGA_OUTPUT] = B(SAGA_ENDING) | B(SAGA_ENDED) | B(SAGA_DROPPED),
    [SAGA_ENDING] = B(SAGA_ENDED) | B(SAGA_DROPPED),
    [SAGA_ENDED] = 0,
    [SAGA_DROPPED] = 0,
};

static const unsigned stage_next[] = {
    [STAGE_WAITING] = B(STAGE_STARTING) | B(STAGE_FAILING) | B(STAGE_STOPPED),
    [STAGE_STARTING] = B(STAGE_PREPARING) | B(STAGE_STOPPED),
    [STAGE_PREPARING] = B(STAGE_CALLING) | B(STAGE_FAILING) | B(STAGE_STOPPED),
    [STAGE_CALLING] = B(STAGE_COMPLETING) | B(STAGE_FAILING) | B(STAGE_STOPPED),
    [STAGE_COMPLETING] = B(STAGE_DONE) | B(STAGE_STOPPED),
    [STAGE_FAILING] = B(STAGE_BACKOFF) | B(STAGE_FAILED) | B(STAGE_STOPPED),
    [STAGE_BACKOFF] = B(STAGE_STARTING) | B(STAGE_STOPPED),
    [STAGE_DONE] = 0,
    [STAGE_FAILED] = 0,
    [STAGE_STOPPED] = 0,
};

static const unsigned write_next[] = {
    [WRITE_IDLE] = B(WRITE_SENT) | B(WRITE_CHECKING),
    [WRITE_SENT] = B(WRITE_IDLE) | B(WRITE_PAUSED) | B(WRITE_CHECKING),
    [WRITE_PAUSED] = B(WRITE_SENT),
    [WRITE_CHECKING] = B(WRITE_IDLE) | B(WRITE_PAUSED) | B(WRITE_SENT),
};

static void move(struct saga *s, enum saga_state to)
{
	assert((task_next[s->state] & B(to)) != 0);
	s->state = to;
}

static void stage_move(struct saga_stage *stage, enum saga_stage_state to)
{
	assert((stage_next[stage->state] & B(to)) != 0);
	stage->state = to;
}

static void write_move(struct saga *s, enum saga_write_state to)
{
	assert((write_next[s->write_state] & B(to)) != 0);
	s->write_state = to;
}

static bool over(const struct saga *s)
{
	return s->state == SAGA_ENDED || s->state == SAGA_DROPPED;
}

/* --- actions ------------------------------------------------------------------------------- */

static struct saga_action *act(struct saga *s, enum saga_action_type type)
{
	if (s->action_count == s->action_cap) {
		s->action_cap = s->action_cap == 0 ? 8 : 2 * s->action_cap;
		s->actions = xrealloc(s->actions, s->action_cap * sizeof(*s->actions));
	}
	struct saga_action *a = &s->actions[s->action_count++];
	*a = (struct saga_action){.type = type, .stage = s->n};
	return a;
}

static void act_stage(struct saga *s, enum saga_action_type type, size_t stage)
{
	struct saga_action *a = act(s, type);
	a->stage = stage;
	a->attempt = s->stages[stage].attempt;
}

bool saga_next(struct saga *s, struct saga_action *action)
{
	if (s->action_at == s->action_count) {
		s->action_at = s->action_count = 0;
		return false;
	}
	*action = s->actions[s->action_at++];
	return true;
}

/* --- ends ---------------------------------------------------------------------------------- */

/* Nothing of the stages is wanted any more. */
static void stop_stages(struct saga *s)
{
	for (size_t i = 0; i < s->n; i++) {
		struct saga_stage *stage = &s->stages[i];
		if (stage->state == STAGE_CALLING || stage->asked)
			act_stage(s, ACTION_ABORT, i);
		stage->asked = false;
		if (stage->state != STAGE_DONE && stage->state != STAGE_FAILED &&
		    stage->state != STAGE_STOPPED)
			stage_move(stage, STAGE_STOPPED);
	}
}

static void finish(struct saga *s, enum saga_state state, enum saga_verdict verdict)
{
	stop_stages(s);
	s->queued = 0;
	s->pending = false;
	move(s, state);
	act(s, ACTION_FINISH)->verdict = verdict;
}

static void enqueue(struct saga *s, enum saga_type type, size_t stage)
{
	assert(s->queued < sizeof(s->queue) / sizeof(s->queue[0]));
	s->queue[s->queued].type = type;
	s->queue[s->queued++].stage = stage;
}

static void set_text(char **at, const char *text)
{
	free(*at);
	*at = xstrdup(text != NULL ? text : "");
}

static void fail_task(struct saga *s, size_t stage, const char *reason, const char *message)
{
	if (s->state == SAGA_ENDING)
		return; /* another stage was first */
	s->has_failed_stage = stage < s->n;
	s->failed_stage = stage;
	set_text(&s->reason, reason);
	set_text(&s->message, message);
	move(s, SAGA_ENDING);
	enqueue(s, TASK_FAILED, s->n);
}

static void expire(struct saga *s)
{
	stop_stages(s);
	s->queued = 0; /* what is on its way is waited for, the rest is void */
	move(s, SAGA_ENDING);
	enqueue(s, TASK_EXPIRED, s->n);
}

/* --- stages -------------------------------------------------------------------------------- */

static bool active(const struct saga *s)
{
	return s->state == SAGA_RUNNING && !s->doomed;
}

static void call(struct saga *s, size_t i)
{
	stage_move(&s->stages[i], STAGE_CALLING);
	act_stage(s, ACTION_CALL, i);
}

static void ask_input(struct saga *s, size_t i)
{
	struct saga_stage *stage = &s->stages[i];
	if (stage->input != NULL || stage->asked)
		return;
	if (s->spec->stages[i].input == NULL) {
		struct strbuf b = {0};
		saga_plain(s, i, &b);
		stage->input = strbuf_detach(&b, &stage->input_len);
	} else {
		stage->asked = true;
		act_stage(s, ACTION_INPUT, i);
	}
}

static void start_stage(struct saga *s, size_t i, int64_t now)
{
	struct saga_stage *stage = &s->stages[i];
	stage->attempt++;
	stage->started_at = now;
	free(stage->reason);
	stage->reason = NULL;
	stage_move(stage, STAGE_STARTING);
	enqueue(s, TASK_STAGE_STARTED, i);
	ask_input(s, i); /* meanwhile */
}

/* Starts that are not in the log yet need not get there. */
static void drop_starts(struct saga *s)
{
	size_t kept = 0;
	for (size_t i = 0; i < s->queued; i++) {
		if (s->queue[i].type == TASK_STAGE_STARTED)
			stage_move(&s->stages[s->queue[i].stage], STAGE_STOPPED);
		else
			s->queue[kept++] = s->queue[i];
	}
	s->queued = kept;
}

/* The reason and the message are in the stage. */
static void fail_stage(struct saga *s, size_t i, bool retry, int64_t floor_ms, int64_t now)
{
	struct saga_stage *stage = &s->stages[i];
	const struct retry_policy *policy = &s->spec->stages[i].retry;
	stage->failed++;
	stage->final = !retry || stage->failed >= (unsigned)policy->max_attempts;
	stage_move(stage, STAGE_FAILING);
	enqueue(s, TASK_STAGE_FAILED, i);
	if (!stage->final) {
		int64_t wait = backoff_full_jitter(s->rng, (int)stage->failed, policy->initial_ms,
						   policy->factor, policy->max_ms);
		if (wait < floor_ms) /* not all of those who were told the same at once */
			wait = floor_ms + (int64_t)rng_below(s->rng, (uint64_t)floor_ms / 10 + 1);
		stage->retry_at = now + wait;
		return;
	}
	s->doomed = true;
	drop_starts(s);
	for (size_t k = 0; k < s->n; k++) {
		struct saga_stage *other = &s->stages[k];
		if (other->state == STAGE_CALLING || other->asked)
			act_stage(s, ACTION_ABORT, k);
		other->asked = false;
		if (other->state == STAGE_CALLING || other->state == STAGE_PREPARING)
			stage_move(other, STAGE_STOPPED);
	}
}

static bool ready(const struct saga *s, size_t i)
{
	return (s->spec->stages[i].needs & ~s->complete) == 0;
}

static void make_output(struct saga *s, int64_t now)
{
	s->output_at = 0;
	if (s->spec->output != NULL) {
		act(s, ACTION_OUTPUT);
		return;
	}
	struct strbuf b = {0};
	saga_plain(s, s->n, &b);
	struct saga_outcome plain = {.class = OUTCOME_OK, .text = b.data, .len = b.len};
	saga_output(s, &plain, now);
	strbuf_done(&b);
}

/* Starts what may start; when all is complete, goes on to the output. */
static void schedule(struct saga *s, int64_t now)
{
	if (!active(s))
		return;
	size_t complete = 0;
	for (size_t i = 0; i < s->n; i++) {
		if (s->stages[i].state == STAGE_WAITING && ready(s, i))
			start_stage(s, i, now);
		complete += s->stages[i].state == STAGE_DONE;
	}
	if (complete == s->n) {
		move(s, SAGA_OUTPUT);
		make_output(s, now);
	}
}

/* After task.started: what the log says of each stage, and whether this worker can run them at all.
 */
static void begin_running(struct saga *s, int64_t now)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->spec->stages[i].kind > KIND_HTTP) {
			fail_task(s, i, "unsupported_kind",
				  "this version runs transform, chat and http");
			return;
		}
	}
	for (size_t i = 0; i < s->n; i++) {
		struct saga_stage *stage = &s->stages[i];
		if (stage->state == STAGE_FAILED) {
			fail_task(s, i, stage->reason, stage->message);
			return;
		}
		if (stage->open && stage->attempt - stage->failed > SAGA_LOST_MAX) {
			set_text(&stage->reason, "worker_lost");
			set_text(&stage->message, "too many workers vanished while they ran it");
			fail_stage(s, i, false, 0, now);
			return;
		}
		stage->open = false;
	}
	schedule(s, now);
	saga_tick(s, now); /* retries that are due */
}

/* --- what our own writes mean, once they are in the log ------------------------------------- */

static void stage_started(struct saga *s, size_t i, int64_t now)
{
	struct saga_stage *stage = &s->stages[i];
	if (stage->state != STAGE_STARTING)
		return;
	stage_move(stage, STAGE_PREPARING);
	if (s->doomed)
		stage_move(stage, STAGE_STOPPED);
	else if (stage->input != NULL)
		call(s, i);
	else if (stage->reason != NULL) /* its input failed meanwhile */
		fail_stage(s, i, !stage->final, 0, now);
}

static void stage_completed(struct saga *s, size_t i, int64_t now)
{
	struct saga_stage *stage = &s->stages[i];
	if (stage->state != STAGE_COMPLETING)
		return;
	stage_move(stage, STAGE_DONE);
	s->complete |= UINT64_C(1) << i;
	free(stage->input);
	stage->input = NULL;
	schedule(s, now);
}

static void stage_failed(struct saga *s, size_t i)
{
	struct saga_stage *stage = &s->stages[i];
	if (stage->state != STAGE_FAILING)
		return;
	stage_move(stage, stage->final ? STAGE_FAILED : STAGE_BACKOFF);
	if (stage->final)
		fail_task(s, i, stage->reason, stage->message);
}

static void applied(struct saga *s, uint64_t seq, int64_t now)
{
	enum saga_type type = s->write.type;
	size_t stage = s->write.stage;
	s->last_seq = seq;
	s->in_log = true;
	s->trimmed = s->pending = false;
	s->write_tries = 0;
	switch (type) {
	case TASK_ACCEPTED:
		if (s->state != SAGA_ACCEPTING)
			break; /* it expired meanwhile */
		move(s, SAGA_STARTING);
		enqueue(s, TASK_STARTED, s->n);
		break;
	case TASK_STARTED:
		s->run++;
		s->holder = s->claim;
		if (s->state != SAGA_STARTING)
			break;
		move(s, SAGA_RUNNING);
		begin_running(s, now);
		break;
	case TASK_STAGE_STARTED:
		stage_started(s, stage, now);
		break;
	case TASK_STAGE_COMPLETED:
		stage_completed(s, stage, now);
		break;
	case TASK_STAGE_FAILED:
		stage_failed(s, stage);
		break;
	default:
		s->end = type;
		finish(s, SAGA_ENDED, VERDICT_END);
		break;
	}
}

/* --- writing ------------------------------------------------------------------------------- */

static void look(struct saga *s)
{
	s->hinted = false;
	s->foreign = false;
	s->checking = s->pending;
	write_move(s, WRITE_CHECKING);
	act(s, ACTION_LOAD)->after = s->last_seq;
}

static void send(struct saga *s)
{
	s->write.expect = s->trimmed ? 0 : (int64_t)s->last_seq;
	write_move(s, WRITE_SENT);
	act(s, ACTION_WRITE);
}

/* Sends the next transition, if none is on its way. */
static void pump(struct saga *s, int64_t now)
{
	if (over(s) || s->state == SAGA_LOADING || s->write_state != WRITE_IDLE)
		return;
	if (s->hinted) {
		look(s);
		return;
	}
	if (s->queued == 0)
		return;
	struct saga_write *w = &s->write;
	w->type = s->queue[0].type;
	w->stage = s->queue[0].stage;
	s->queued--;
	memmove(s->queue, s->queue + 1, s->queued * sizeof(s->queue[0]));
	strbuf_reset(&w->data);
	saga_write_data(s, w->type, w->stage, now, &w->data);
	if (w->type == TASK_ACCEPTED) {
		memcpy(w->id.text, s->accepted_id, sizeof(w->id.text));
	} else {
		/* The log's own position, not what is expected: that is 0 again after each trim. */
		struct strbuf name = {0};
		strbuf_addf(&name, "%s %llu %s %s", s->task, (unsigned long long)s->last_seq,
			    saga_type_name(w->type), s->worker);
		w->id = id_derive(s->tenant, "transition", name.data);
		strbuf_done(&name);
	}
	s->pending = true;
	send(s);
}

static void pause_write(struct saga *s, int64_t now)
{
	int64_t wait = PAUSE_INITIAL_MS << (s->write_tries < 6 ? s->write_tries : 6);
	s->write_tries++;
	s->write_at = now + (wait < PAUSE_MAX_MS ? wait : PAUSE_MAX_MS);
	write_move(s, WRITE_PAUSED);
}

void saga_written(struct saga *s, enum saga_write_result result, uint64_t seq, int64_t now)
{
	if (over(s) || s->write_state != WRITE_SENT)
		return;
	switch (result) {
	case WRITTEN:
		write_move(s, WRITE_IDLE);
		applied(s, seq, now);
		pump(s, now);
		break;
	case WRITE_CONFLICT:
		look(s);
		break;
	case WRITE_REFUSED:
		if (s->write_tries >= REFUSED_MAX) {
			finish(s, SAGA_DROPPED, VERDICT_LATER);
			break;
		}
		pause_write(s, now);
		break;
	case WRITE_UNKNOWN:
		pause_write(s, now);
		break;
	}
}

/* --- reading ------------------------------------------------------------------------------- */

void saga_begin(struct saga *s)
{
	assert(s->state == SAGA_LOADING);
	act(s, ACTION_LOAD)->after = 0;
}

void saga_fold(struct saga *s, uint64_t seq, const char *id, const char *type_name,
	       const char *data, size_t len)
{
	enum saga_type type = saga_type_of(type_name);
	if (over(s) || seq <= s->last_seq)
		return;
	if (s->pending && !s->foreign &&
	    (strcmp(id, s->write.id.text) == 0 ||
	     (type == TASK_ACCEPTED && s->write.type == TASK_ACCEPTED))) {
		s->last_seq = seq;
		s->pending = false;
		s->in_log = true;
		return; /* what it means is done by saga_loaded() */
	}
	s->last_seq = seq;
	s->in_log = true;
	if (saga_type_terminal(type))
		s->end = type;
	if (s->state == SAGA_LOADING)
		saga_take_event(s, type, data, len);
	else
		s->foreign = true;
	if (s->state != SAGA_LOADING && type == TASK_STARTED)
		saga_take_event(s, type, data, len);
}

static void loaded_first(struct saga *s, int64_t now)
{
	if (s->end != TASK_UNKNOWN) {
		finish(s, SAGA_ENDED, VERDICT_END);
	} else if (s->holder != 0 && s->holder != s->claim) {
		finish(s, SAGA_DROPPED, VERDICT_REPEAT);
	} else if (!s->in_log) {
		move(s, SAGA_ACCEPTING);
		enqueue(s, TASK_ACCEPTED, s->n);
	} else {
		if (s->deadline_at > 0 && s->deadline_at <= now) {
			expire(s);
		} else if (s->spec == NULL) {
			fail_task(s, s->n, "unknown_pipeline", "there is no such pipeline version");
		} else {
			move(s, SAGA_STARTING);
			enqueue(s, TASK_STARTED, s->n);
		}
	}
}

/* The channel was read again: because a write was refused, or on a hint. */
static void loaded_again(struct saga *s, int64_t now)
{
	if (s->end != TASK_UNKNOWN) {
		finish(s, SAGA_ENDED, VERDICT_END);
	} else if (s->foreign) {
		bool other = s->holder != 0 && s->holder != s->claim;
		finish(s, SAGA_DROPPED, other ? VERDICT_REPEAT : VERDICT_LOST);
	} else if (s->pending) {
		if (s->trimmed && s->write_tries == 0) {
			s->write_tries++;
			send(s);
		} else if (s->write_tries >= SPURIOUS_MAX) {
			finish(s, SAGA_DROPPED, VERDICT_LATER); /* the stream is not what it was */
		} else {
			pause_write(s, now); /* nothing new, and yet refused: not at once again */
		}
	} else {
		write_move(s, WRITE_IDLE);
		if (s->checking) /* it was our own write */
			applied(s, s->last_seq, now);
	}
}

void saga_loaded(struct saga *s, bool trimmed, int64_t now)
{
	if (over(s))
		return;
	s->trimmed = trimmed;
	if (s->state == SAGA_LOADING) {
		loaded_first(s, now);
	} else if (s->write_state == WRITE_CHECKING) {
		loaded_again(s, now);
	}
	pump(s, now);
}

/* --- results ------------------------------------------------------------------------------- */

static void note_failure(struct saga_stage *stage, const struct saga_outcome *outcome)
{
	set_text(&stage->reason, outcome->reason);
	set_text(&stage->message, outcome->message);
}

void saga_input(struct saga *s, size_t i, const struct saga_outcome *outcome, int64_t now)
{
	struct saga_stage *stage = &s->stages[i];
	if (over(s) || !stage->asked)
		return;
	stage->asked = false;
	if (outcome->class == OUTCOME_OK) {
		stage->input = xmemdup(outcome->text, outcome->len + 1);
		stage->input_len = outcome->len;
	} else {
		note_failure(stage, outcome);
		stage->final = outcome->class == OUTCOME_FINAL;
	}
	if (stage->state == STAGE_PREPARING) { /* the start is in the log */
		if (stage->input != NULL)
			call(s, i);
		else
			fail_stage(s, i, !stage->final, 0, now);
	}
	pump(s, now);
}

void saga_called(struct saga *s, size_t i, unsigned attempt, const struct saga_outcome *outcome,
		 int64_t now)
{
	struct saga_stage *stage = &s->stages[i];
	if (over(s) || stage->state != STAGE_CALLING || stage->attempt != attempt)
		return;
	if (outcome->class == OUTCOME_OK) {
		stage->output = xmemdup(outcome->text, outcome->len + 1);
		stage->output_len = outcome->len;
		stage->latency_ms = outcome->latency_ms;
		stage->first_token_ms = outcome->first_token_ms;
		stage->has_usage = outcome->has_usage;
		stage->usage = outcome->usage;
		stage_move(stage, STAGE_COMPLETING);
		enqueue(s, TASK_STAGE_COMPLETED, i);
	} else {
		note_failure(stage, outcome);
		fail_stage(s, i, outcome->class == OUTCOME_RETRY, outcome->retry_after_ms, now);
	}
	pump(s, now);
}

void saga_output(struct saga *s, const struct saga_outcome *outcome, int64_t now)
{
	if (s->state != SAGA_OUTPUT)
		return;
	if (outcome->class == OUTCOME_RETRY) {
		s->output_at = now + OUTPUT_AGAIN_MS;
		return;
	}
	if (outcome->class == OUTCOME_FINAL) {
		fail_task(s, s->n, outcome->reason, outcome->message);
	} else if (outcome->len > s->output_max) {
		fail_task(s, s->n, "output_too_large", "the task's output is too large");
	} else {
		s->output = xmemdup(outcome->text, outcome->len);
		s->output_len = outcome->len;
		move(s, SAGA_ENDING);
		enqueue(s, TASK_COMPLETED, s->n);
	}
	pump(s, now);
}

void saga_hint(struct saga *s)
{
	if (over(s) || s->state == SAGA_LOADING)
		return;
	s->hinted = true;
	if (s->write_state == WRITE_IDLE)
		look(s);
}

/* --- time ---------------------------------------------------------------------------------- */

static bool may_expire(const struct saga *s)
{
	return s->deadline_at > 0 && s->state != SAGA_LOADING && s->state != SAGA_ENDING &&
	       !over(s);
}

int64_t saga_wake_at(const struct saga *s)
{
	int64_t at = INT64_MAX;
	if (over(s))
		return 0;
	if (may_expire(s))
		at = s->deadline_at;
	if (s->write_state == WRITE_PAUSED && s->write_at < at)
		at = s->write_at;
	if (s->output_at > 0 && s->output_at < at)
		at = s->output_at;
	for (size_t i = 0; i < s->n && active(s); i++)
		if (s->stages[i].state == STAGE_BACKOFF && s->stages[i].retry_at < at)
			at = s->stages[i].retry_at;
	return at == INT64_MAX ? 0 : at;
}

void saga_tick(struct saga *s, int64_t now)
{
	if (may_expire(s) && s->deadline_at <= now)
		expire(s);
	if (!over(s) && s->write_state == WRITE_PAUSED && s->write_at <= now)
		send(s);
	if (s->state == SAGA_OUTPUT && s->output_at > 0 && s->output_at <= now)
		make_output(s, now);
	for (size_t i = 0; i < s->n && active(s); i++)
		if (s->stages[i].state == STAGE_BACKOFF && s->stages[i].retry_at <= now)
			start_stage(s, i, now);
	pump(s, now);
}

/* --- life ---------------------------------------------------------------------------------- */

void saga_init(struct saga *s, const struct saga_setup *setup)
{
	*s = (struct saga){
	    .tenant = xstrdup(setup->tenant),
	    .task = xstrdup(setup->task),
	    .pipeline = xstrdup(setup->pipeline),
	    .worker = xstrdup(setup->worker),
	    .version = setup->version,
	    .spec = setup->spec != NULL ? pipeline_ref(setup->spec) : NULL,
	    .claim = setup->claim,
	    .output_max = setup->output_max,
	    .rng = setup->rng,
	    .accepted_at = setup->accepted_at,
	    .end = TASK_UNKNOWN,
	    .n = setup->spec != NULL ? setup->spec->n : 0,
	};
	strncpy(s->accepted_id, setup->accepted_id, ID_LEN);
	s->stages = xcalloc(s->n > 0 ? s->n : 1, sizeof(*s->stages));
	for (size_t i = 0; i < s->n; i++)
		s->stages[i].latency_ms = s->stages[i].first_token_ms = -1;
	saga_take_event(s, TASK_ACCEPTED, setup->accepted_data, setup->accepted_len);
}

void saga_done(struct saga *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free(s->stages[i].input);
		free(s->stages[i].output);
		free(s->stages[i].reason);
		free(s->stages[i].message);
	}
	free(s->stages);
	free(s->tenant);
	free(s->task);
	free(s->pipeline);
	free(s->worker);
	free(s->output);
	free(s->reason);
	free(s->message);
	free(s->actions);
	strbuf_done(&s->accepted);
	strbuf_done(&s->write.data);
	pipeline_unref(s->spec);
	*s = (struct saga){0};
}
