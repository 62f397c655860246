#include "services/orchestrator-worker/saga.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define PAUSE_INITIAL_MS 100
#define PAUSE_MAX_MS     5000
#define REFUSED_MAX      5
#define SPURIOUS_MAX     20
#define OUTPUT_AGAIN_MS  500

static void move(struct saga *s, enum saga_state to)
{
	assert(saga_follows(MACHINE_TASK, s->state, to));
	s->state = to;
}

static void stage_move(struct saga_stage *stage, enum saga_stage_state to)
{
	assert(saga_follows(MACHINE_STAGE, stage->state, to));
	stage->state = to;
}

static void write_move(struct saga *s, enum saga_write_state to)
{
	assert(saga_follows(MACHINE_WRITE, s->write_state, to));
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

/* Its input or its call is not wanted any more. */
static void abort_stage(struct saga *s, size_t i)
{
	struct saga_stage *stage = &s->stages[i];
	if (stage->state == STAGE_CALLING && stage->begun)
		saga_spend(s, i, NULL);
	if (stage->state == STAGE_CALLING || stage->asked)
		act_stage(s, ACTION_ABORT, i);
	stage->asked = false;
}

/* Nothing of the stages is wanted any more. */
static void stop_stages(struct saga *s)
{
	for (size_t i = 0; i < s->n; i++) {
		struct saga_stage *stage = &s->stages[i];
		abort_stage(s, i);
		if (saga_follows(MACHINE_STAGE, stage->state, STAGE_STOPPED))
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
	if (s->state == SAGA_ENDING || s->state == SAGA_LEAVING)
		return; /* another stage was first, or it is the next worker's to say */
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

static void ask_input(struct saga *s, size_t i)
{
	struct saga_stage *stage = &s->stages[i];
	if (stage->input != NULL || stage->asked)
		return;
	if (s->spec->stages[i].program == NULL) {
		struct strbuf b = {0};
		saga_plain(s, i, &b);
		stage->input = strbuf_detach(&b, &stage->input_len);
	} else {
		stage->asked = true;
		act_stage(s, ACTION_INPUT, i);
	}
}

static void write_start(struct saga *s, size_t i, int64_t now)
{
	struct saga_stage *stage = &s->stages[i];
	const struct stage_spec *spec = &s->spec->stages[i];
	if (stage->start_by == 0 && spec->start_within_ms > 0)
		stage->start_by = now + spec->start_within_ms;
	if (stage->deadline_at == 0 && spec->deadline_ms > 0)
		stage->deadline_at = now + spec->deadline_ms;
	stage->attempt++;
	stage->started_at = now;
	if (stage->since == 0)
		stage->since = now;
	stage_move(stage, STAGE_STARTING);
	enqueue(s, TASK_STAGE_STARTED, i);
}

static void start_stage(struct saga *s, size_t i, int64_t now)
{
	free(s->stages[i].reason);
	s->stages[i].reason = NULL;
	write_start(s, i, now);
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

/* No stage goes on, but for those whose end is on its way to the log. */
static void halt_stages(struct saga *s)
{
	drop_starts(s);
	for (size_t i = 0; i < s->n; i++) {
		struct saga_stage *stage = &s->stages[i];
		abort_stage(s, i);
		if (stage->state == STAGE_CALLING || stage->state == STAGE_PREPARING ||
		    stage->state == STAGE_HELD || stage->state == STAGE_ASKING)
			stage_move(stage, STAGE_STOPPED);
	}
}

/* The other side says "later" without an end: a deadline that nobody has set. */
static bool put_off_too_long(struct saga_stage *stage, int64_t now)
{
	struct strbuf message = {0};
	bool often = stage->throttled >= SAGA_THROTTLED_MAX;
	if (!often && now - stage->throttled_since < SAGA_THROTTLED_MS)
		return false;
	if (often)
		strbuf_addf(&message, "put off %u times: %s", stage->throttled, stage->message);
	else
		strbuf_addf(&message, "put off for a day: %s", stage->message);
	set_text(&stage->reason, "throttled");
	set_text(&stage->message, message.data);
	strbuf_done(&message);
	return true;
}

/* The reason and the message are in the stage. */
static void fail_stage(struct saga *s, size_t i, enum saga_class class, int64_t floor_ms,
		       int64_t now)
{
	struct saga_stage *stage = &s->stages[i];
	const struct retry_policy *policy = &s->spec->stages[i].retry;
	stage->put_off = class == OUTCOME_THROTTLED;
	stage->held_since = 0;
	if (!stage->put_off)
		stage->failed++;
	else if (stage->throttled++ == 0 || stage->throttled_since == 0)
		stage->throttled_since = now;
	stage->final = class == OUTCOME_FINAL || stage->failed >= (unsigned)policy->max_attempts ||
		       (stage->put_off && put_off_too_long(stage, now));
	stage_move(stage, STAGE_FAILING);
	enqueue(s, TASK_STAGE_FAILED, i);
	if (!stage->final) {
		int64_t wait =
		    backoff_full_jitter(s->rng, (int)(stage->failed + stage->throttled),
					policy->initial_ms, policy->factor, policy->max_ms);
		if (wait < floor_ms) /* not all of those who were told the same at once */
			wait = floor_ms + (int64_t)rng_below(s->rng, (uint64_t)floor_ms / 10 + 1);
		stage->retry_at = now + wait;
		if (stage->deadline_at == 0 || stage->retry_at < stage->deadline_at)
			return;
		stage->final = true; /* it would be too late */
	}
	s->doomed = true;
	halt_stages(s);
}

/* When it is too late for the stage, as things are; 0: never. */
static int64_t stage_limit(const struct saga_stage *stage)
{
	int64_t at = stage->deadline_at;
	bool waiting = !stage->begun && stage->failed + stage->throttled == 0;
	if (waiting && stage->start_by > 0 && (at == 0 || stage->start_by < at))
		at = stage->start_by;
	switch (stage->state) {
	case STAGE_PREPARING:
	case STAGE_CALLING:
	case STAGE_HELD:
		return at;
	default: /* its start is not in the log yet, or its end is known */
		return 0;
	}
}

/* Is it too late? Then it has failed. */
static bool time_out(struct saga *s, size_t i, int64_t now)
{
	struct saga_stage *stage = &s->stages[i];
	int64_t limit = stage_limit(stage);
	if (limit == 0 || limit > now)
		return false;
	bool late = stage->deadline_at > 0 && stage->deadline_at <= now;
	set_text(&stage->reason, late ? "stage_timeout" : "start_timeout");
	set_text(&stage->message, late ? "the stage was not complete in time"
				       : "no call of the stage could begin in time");
	abort_stage(s, i);
	fail_stage(s, i, OUTCOME_FINAL, 0, now);
	return true;
}

/* Nobody knows when the target will be there, and perhaps it never will. */
static bool held_too_long(struct saga_stage *stage, int64_t now)
{
	struct strbuf message = {0};
	if (stage->held_since == 0)
		stage->held_since = now;
	if (now - stage->held_since < SAGA_HELD_MS)
		return false;
	strbuf_addf(&message, "no call could be made for a day: %s", stage->message);
	set_text(&stage->message, message.data);
	strbuf_done(&message);
	return true;
}

/* The call is made again by and by, not all that were told the same at once. */
static void hold(struct saga *s, size_t i, int64_t wait_ms, int64_t now)
{
	struct saga_stage *stage = &s->stages[i];
	if (held_too_long(stage, now)) {
		fail_stage(s, i, OUTCOME_FINAL, 0, now);
		return;
	}
	stage_move(stage, STAGE_HELD);
	stage->retry_at = now + wait_ms + (int64_t)rng_below(s->rng, (uint64_t)wait_ms / 10 + 1);
	int64_t limit = stage_limit(stage);
	if (limit > 0 && stage->retry_at > limit)
		stage->retry_at = limit; /* to fail then */
}

/* A wait needs nobody but the clock: held until then, and then complete. */
static void wait_stage(struct saga *s, size_t i, int64_t now)
{
	struct saga_stage *stage = &s->stages[i];
	struct strbuf output = {0};
	struct error err;
	int64_t until;
	if (saga_wait_until(stage->input, stage->input_len, stage->since, &until, &err)) {
		set_text(&stage->reason, "bad_input");
		set_text(&stage->message, err.msg);
		fail_stage(s, i, OUTCOME_FINAL, 0, now);
	} else if (until > now) {
		set_text(&stage->reason, "wait");
		stage_move(stage, STAGE_HELD);
		stage->retry_at = until;
	} else {
		strbuf_addf(&output, "{\"since\":%lld,\"until\":%lld}", (long long)stage->since,
			    (long long)until);
		stage->output = strbuf_detach(&output, &stage->output_len);
		stage_move(stage, STAGE_COMPLETING);
		enqueue(s, TASK_STAGE_COMPLETED, i);
	}
}

static void call(struct saga *s, size_t i, int64_t now)
{
	stage_move(&s->stages[i], STAGE_CALLING);
	if (s->spec->stages[i].kind == KIND_WAIT)
		wait_stage(s, i, now);
	else
		act_stage(s, ACTION_CALL, i);
}

static bool ready(const struct saga *s, size_t i)
{
	return (s->spec->stages[i].needs & ~s->complete) == 0;
}

/* A worker that is to stop begins nothing that it would have to wait for. */
static bool may_start(const struct saga *s, size_t i)
{
	enum stage_kind kind = s->spec->stages[i].kind;
	return active(s) && (!s->draining || kind == KIND_TRANSFORM || kind == KIND_PUBLISH);
}

/* It goes on at retry_at. */
static bool waits(const struct saga_stage *stage)
{
	return stage->state == STAGE_BACKOFF || stage->state == STAGE_HELD;
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

static void skip_stage(struct saga *s, size_t i)
{
	stage_move(&s->stages[i], STAGE_SKIPPING);
	enqueue(s, TASK_STAGE_SKIPPED, i);
}

/* All that it needs is complete. */
static void begin_stage(struct saga *s, size_t i, int64_t now)
{
	const struct stage_spec *spec = &s->spec->stages[i];
	struct saga_stage *stage = &s->stages[i];
	if (spec->needs != 0 && (spec->needs & ~s->skipped) == 0) {
		skip_stage(s, i);
	} else if (spec->when != NULL && stage->attempt == 0) {
		stage_move(stage, STAGE_ASKING);
		ask_input(s, i);
	} else {
		start_stage(s, i, now);
	}
}

/* Starts what may start; when all is complete, goes on to the output. */
static void schedule(struct saga *s, int64_t now)
{
	if (!active(s))
		return;
	size_t complete = 0;
	for (size_t i = 0; i < s->n; i++) {
		if (s->stages[i].state == STAGE_WAITING && ready(s, i) && may_start(s, i))
			begin_stage(s, i, now);
		complete += (s->complete >> i & 1) != 0;
	}
	if (complete == s->n) {
		move(s, SAGA_OUTPUT);
		make_output(s, now);
	}
}

/* After task.started: what the log says of each stage. */
static void begin_running(struct saga *s, int64_t now)
{
	for (size_t i = 0; i < s->n; i++) {
		struct saga_stage *stage = &s->stages[i];
		if (stage->state == STAGE_FAILED) {
			fail_task(s, i, stage->reason, stage->message);
			return;
		}
		unsigned known = stage->earlier + stage->failed + stage->throttled;
		if (stage->open && stage->attempt > known + SAGA_LOST_MAX) {
			set_text(&stage->reason, "worker_lost");
			set_text(&stage->message, "too many workers vanished while they ran it");
			fail_stage(s, i, OUTCOME_FINAL, 0, now);
			return;
		}
		if (stage->open) /* its worker was lost */
			saga_spend(s, i, NULL);
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
	if (!active(s))
		stage_move(stage, STAGE_STOPPED);
	else if (time_out(s, i, now))
		return;
	else if (stage->unwanted)
		skip_stage(s, i);
	else if (stage->input != NULL)
		call(s, i, now);
	else if (stage->reason != NULL) /* its input failed meanwhile */
		fail_stage(s, i, stage->final ? OUTCOME_FINAL : OUTCOME_RETRY, 0, now);
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

static void stage_skipped(struct saga *s, size_t i, int64_t now)
{
	struct saga_stage *stage = &s->stages[i];
	if (stage->state != STAGE_SKIPPING)
		return;
	stage_move(stage, STAGE_SKIPPED);
	s->complete |= UINT64_C(1) << i;
	s->skipped |= UINT64_C(1) << i;
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
	case TASK_STAGE_SKIPPED:
		stage_skipped(s, stage, now);
		break;
	case TASK_HANDED_OFF:
		finish(s, SAGA_DROPPED, VERDICT_LATER);
		break;
	case TASK_PARKED:
		finish(s, SAGA_DROPPED, VERDICT_END);
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

static void leave(struct saga *s, enum saga_type how, size_t stage)
{
	move(s, SAGA_LEAVING);
	halt_stages(s);
	s->output_at = 0;
	enqueue(s, how, stage);
}

/* It runs, and nothing of it does at the moment. */
static bool idle(const struct saga *s)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct saga_stage *stage = &s->stages[i];
		if (stage->state != STAGE_WAITING && stage->state != STAGE_DONE &&
		    stage->state != STAGE_SKIPPED && !waits(stage))
			return false;
	}
	return active(s);
}

/* It need not be here: the worker is to stop, or nothing will happen for so long that the place is
 * better given to another task. */
static void leave_if_idle(struct saga *s, int64_t now)
{
	if (!idle(s))
		return;
	if (s->draining) {
		leave(s, TASK_HANDED_OFF, s->n);
		return;
	}
	size_t first = s->n;
	for (size_t i = 0; i < s->n; i++)
		if (waits(&s->stages[i]) &&
		    (first == s->n || s->stages[i].retry_at < s->stages[first].retry_at))
			first = i;
	if (first < s->n && s->stages[first].retry_at - now >= SAGA_PARK_MS)
		leave(s, TASK_PARKED, first);
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
		leave_if_idle(s, now);
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
	bool delayed = type == TASK_ACCEPTED && slice_member(data, len, "not_before").p != NULL;
	s->resting = type == TASK_PARKED || type == TASK_REDRIVEN || delayed ? seq : 0;
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
	} else if (s->behind > s->last_seq) {
		finish(s, SAGA_DROPPED, VERDICT_LATER); /* read from a server that is behind */
	} else if ((s->holder != 0 && s->holder != s->claim) ||
		   (s->resting != 0 && s->resting != s->behind)) {
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

/* The input, out of what a program with a condition gave. */
static void take_input(struct saga *s, size_t i, const struct saga_outcome *outcome)
{
	const struct stage_spec *spec = &s->spec->stages[i];
	struct saga_stage *stage = &s->stages[i];
	struct strbuf b = {0};
	if (spec->when != NULL && outcome->len <= strlen("[]")) {
		stage->unwanted = true;
		return;
	}
	if (spec->when == NULL)
		strbuf_add(&b, outcome->text, outcome->len);
	else if (spec->input != NULL)
		strbuf_add(&b, outcome->text + 1, outcome->len - strlen("[]"));
	else
		saga_plain(s, i, &b);
	stage->input = strbuf_detach(&b, &stage->input_len);
}

void saga_input(struct saga *s, size_t i, const struct saga_outcome *outcome, int64_t now)
{
	struct saga_stage *stage = &s->stages[i];
	if (over(s) || !stage->asked)
		return;
	stage->asked = false;
	if (outcome->class == OUTCOME_OK) {
		take_input(s, i, outcome);
	} else {
		note_failure(stage, outcome);
		stage->final = outcome->class == OUTCOME_FINAL;
	}
	bool ready_to_go = stage->state == STAGE_ASKING || stage->state == STAGE_PREPARING;
	if (ready_to_go && stage->unwanted) {
		skip_stage(s, i);
	} else if (stage->state == STAGE_ASKING) {
		write_start(s, i, now);               /* why there is no input is told behind it */
	} else if (stage->state == STAGE_PREPARING) { /* the start is in the log */
		if (stage->input != NULL)
			call(s, i, now);
		else
			fail_stage(s, i, outcome->class, 0, now);
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
		if (outcome->model != NULL)
			set_text(&stage->model, outcome->model);
		stage->usage = outcome->usage;
		saga_spend(s, i, outcome->has_usage ? &outcome->usage : NULL);
		stage_move(stage, STAGE_COMPLETING);
		enqueue(s, TASK_STAGE_COMPLETED, i);
	} else if (outcome->class == OUTCOME_HELD) {
		note_failure(stage, outcome);
		hold(s, i, outcome->retry_after_ms, now);
	} else {
		if (outcome->has_usage)
			saga_spend(s, i, &outcome->usage);
		else
			saga_spend_failed(s, i, outcome->reason);
		note_failure(stage, outcome);
		fail_stage(s, i, outcome->class, outcome->retry_after_ms, now);
	}
	pump(s, now);
}

void saga_begun(struct saga *s, size_t i, unsigned attempt)
{
	struct saga_stage *stage = &s->stages[i];
	if (stage->state == STAGE_CALLING && stage->attempt == attempt)
		stage->begun = true;
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
	       s->state != SAGA_LEAVING && !over(s);
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
	for (size_t i = 0; i < s->n && active(s); i++) {
		int64_t limit = stage_limit(&s->stages[i]);
		if (limit > 0 && limit < at)
			at = limit;
		if (waits(&s->stages[i]) && may_start(s, i) && s->stages[i].retry_at < at)
			at = s->stages[i].retry_at;
	}
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
		time_out(s, i, now);
	for (size_t i = 0; i < s->n; i++) {
		if (!waits(&s->stages[i]) || !may_start(s, i) || s->stages[i].retry_at > now)
			continue;
		if (s->stages[i].state == STAGE_HELD)
			call(s, i, now);
		else
			start_stage(s, i, now);
	}
	pump(s, now);
}

/* --- leaving ------------------------------------------------------------------------------- */

/* Nothing says that it is ours, and nothing is on its way that would. */
static bool untouched(const struct saga *s)
{
	return s->state == SAGA_LOADING || s->state == SAGA_ACCEPTING ||
	       (s->state == SAGA_STARTING && !s->pending);
}

void saga_drain(struct saga *s, bool at_once, int64_t now)
{
	if (over(s))
		return;
	s->draining = true;
	if (untouched(s)) {
		finish(s, SAGA_DROPPED, VERDICT_LATER);
		return;
	}
	bool stays = s->state == SAGA_ENDING || s->state == SAGA_LEAVING || s->doomed;
	if (at_once && !stays)
		leave(s, TASK_HANDED_OFF, s->n);
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
	    .behind = setup->behind,
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
		free(s->stages[i].model);
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
