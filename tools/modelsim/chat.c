/* POST /v1/chat/completions, and /v1/messages as Anthropic's interface has it: the answer is made
 * at once, then given out at the pace of the knobs.
 *
 *      wait ──first_token──► speak ──last token──► done        wait, speak ──client closed──►
 * cancelled └──hang──► (for ever)   └──cut──► cut
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "tools/modelsim/sim.h"

#define MESSAGES_MAX 1000
#define MAX_TOKENS   100000

struct ask { /* a request that was read */
	const char *model;
	struct strbuf document; /* what the user said */
	int64_t prompt_tokens;
	int64_t max_tokens;
	bool stream, include_usage;
	bool messages; /* in Anthropic's form */
};

struct answer {
	struct sim *sim;
	struct http_conn *conn;
	struct model *model;
	struct timer timer;
	struct knobs knobs;
	struct strbuf text; /* the whole answer, cut to max_tokens */
	int64_t tokens, said, prompt_tokens;
	size_t at;         /* of text */
	int64_t cut_after; /* -1: not */
	bool stream, include_usage, messages, shortened, begun;
	uint64_t id;
	int64_t created;
};

static int read_content(const json_t *content, struct strbuf *out, struct error *err)
{
	size_t i;
	json_t *part;

	if (json_is_string(content)) {
		strbuf_add(out, json_string_value(content), json_string_length(content));
		return 0;
	}
	if (!json_is_array(content))
		return err_set(err, ERR_REJECTED, "content must be a string or an array of parts");
	json_array_foreach((json_t *)content, i, part)
	{
		const char *type, *text;

		if (json_get_text(part, "type", true, &type, err) != 0 ||
		    json_get_text(part, "text", true, &text, err) != 0)
			return -1;
		strbuf_adds(out, text);
	}
	return 0;
}

static int read_message(const json_t *message, struct ask *ask, struct error *err)
{
	static const char *const roles[] = {"system", "developer", "user", "assistant", "tool"};
	struct strbuf text = {0};
	const char *role;
	bool known = false;

	if (!json_is_object(message))
		return err_set(err, ERR_REJECTED, "a message must be an object");
	if (json_get_text(message, "role", true, &role, err) != 0)
		return -1;
	for (size_t i = 0; i < sizeof(roles) / sizeof(*roles); i++)
		known = known || strcmp(roles[i], role) == 0;
	if (!known)
		return err_set(err, ERR_REJECTED, "unknown role %.40s", role);
	if (read_content(json_object_get(message, "content"), &text, err) != 0) {
		strbuf_done(&text);
		return -1;
	}
	ask->prompt_tokens += 3 + (int64_t)text_count_tokens(strbuf_str(&text), text.len);
	if (strcmp(role, "user") == 0) {
		if (ask->document.len > 0)
			strbuf_adds(&ask->document, "\n\n");
		strbuf_add(&ask->document, strbuf_str(&text), text.len);
	}
	strbuf_done(&text);
	return 0;
}

static int read_ask(const json_t *doc, struct ask *ask, struct error *err)
{
	json_t *messages = json_object_get(doc, "messages"), *message;
	json_t *options = json_object_get(doc, "stream_options");
	size_t i;

	ask->max_tokens = MAX_TOKENS;
	if (json_get_int(doc, "max_tokens", false, 1, MAX_TOKENS, &ask->max_tokens, err) != 0 ||
	    json_get_int(doc, "max_completion_tokens", false, 1, MAX_TOKENS, &ask->max_tokens,
			 err) != 0 ||
	    json_get_bool(doc, "stream", &ask->stream, err) != 0)
		return -1;
	if (json_is_object(options) &&
	    json_get_bool(options, "include_usage", &ask->include_usage, err) != 0)
		return -1;
	if (!json_is_array(messages) || json_array_size(messages) == 0)
		return err_set(err, ERR_REJECTED,
			       "messages must be an array with at least one message");
	if (json_array_size(messages) > MESSAGES_MAX)
		return err_set(err, ERR_REJECTED, "too many messages");
	ask->prompt_tokens = 3;
	json_array_foreach(messages, i, message)
	{
		if (read_message(message, ask, err) != 0)
			return -1;
	}
	return 0;
}

static void answer_free(struct answer *a)
{
	timer_cancel(a->sim->loop, &a->timer);
	strbuf_done(&a->text);
	free(a);
}

/* Every way out comes through here: what was said is counted, the place is free again. */
static void answer_end(struct answer *a, int64_t *counter)
{
	struct stats *s = &a->model->stats;

	++*counter;
	s->completion_tokens += a->said;
	minute_add(&s->tokens, loop_now_us(a->sim->loop), a->said);
	sim_leave(a->model);
	answer_free(a);
}

static void on_closed(void *arg)
{
	struct answer *a = arg;

	answer_end(a, &a->model->stats.cancelled);
}

static void add_head(const struct answer *a, const char *object, struct strbuf *out)
{
	strbuf_addf(out,
		    "{\"id\":\"chatcmpl-%llu\",\"object\":\"%s\",\"created\":%lld,\"model\":\"%s\"",
		    (unsigned long long)a->id, object, (long long)a->created, a->model->name);
}

static void add_usage(const struct answer *a, struct strbuf *out)
{
	strbuf_addf(
	    out,
	    "\"usage\":{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,\"total_tokens\":%lld}",
	    (long long)a->prompt_tokens, (long long)a->said,
	    (long long)(a->prompt_tokens + a->said));
}

static void send_chunk(struct answer *a, struct strbuf *chunk)
{
	strbuf_adds(chunk, "\n\n");
	a->model->stats.bytes_out += (int64_t)chunk->len;
	http_stream_add(a->conn, chunk->data, chunk->len);
	strbuf_reset(chunk);
}

/* --- Anthropic's form: named events around the pieces -------------------------------------- */

static void add_message(const struct answer *a, const char *stop, int64_t said, struct strbuf *out)
{
	strbuf_addf(
	    out,
	    "{\"id\":\"msg_%llu\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"%s\","
	    "\"stop_reason\":%s,\"stop_sequence\":null,\"usage\":{\"input_tokens\":%lld,"
	    "\"output_tokens\":%lld},\"content\":[",
	    (unsigned long long)a->id, a->model->name, stop, (long long)a->prompt_tokens,
	    (long long)said);
	if (said > 0) {
		strbuf_adds(out, "{\"type\":\"text\",\"text\":");
		strbuf_add_jsonn(out, strbuf_str(&a->text), a->text.len);
		strbuf_addc(out, '}');
	}
	strbuf_adds(out, "]}");
}

static void begin_message(struct answer *a, struct strbuf *chunk)
{
	strbuf_adds(chunk, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":");
	add_message(a, "null", 0, chunk);
	strbuf_addc(chunk, '}');
	send_chunk(a, chunk);
	strbuf_adds(chunk, "event: content_block_start\ndata: {\"type\":\"content_block_start\","
			   "\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}");
	send_chunk(a, chunk);
	strbuf_adds(chunk, "event: ping\ndata: {\"type\":\"ping\"}");
	send_chunk(a, chunk);
	a->begun = true;
}

static void add_piece(struct answer *a, const char *text, size_t len, struct strbuf *chunk)
{
	if (!a->begun)
		begin_message(a, chunk);
	strbuf_adds(chunk, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\","
			   "\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":");
	strbuf_add_jsonn(chunk, text, len);
	strbuf_adds(chunk, "}}");
	send_chunk(a, chunk);
}

static const char *stop_reason(const struct answer *a)
{
	return a->shortened ? "\"max_tokens\"" : "\"end_turn\"";
}

static void end_message(struct answer *a, struct strbuf *chunk)
{
	if (!a->begun)
		begin_message(a, chunk);
	strbuf_adds(chunk, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\","
			   "\"index\":0}");
	send_chunk(a, chunk);
	strbuf_addf(
	    chunk,
	    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{"
	    "\"stop_reason\":%s,\"stop_sequence\":null},\"usage\":{\"output_tokens\":%lld}}",
	    stop_reason(a), (long long)a->said);
	send_chunk(a, chunk);
	strbuf_adds(chunk, "event: message_stop\ndata: {\"type\":\"message_stop\"}");
	send_chunk(a, chunk);
	http_stream_end(a->conn);
}

/* --- OpenAI's form -------------------------------------------------------------------------- */

/* One piece of the stream: delta or the end. */
static void add_chunk(struct answer *a, const char *text, size_t len, const char *finish,
		      struct strbuf *chunk)
{
	strbuf_adds(chunk, "data: ");
	add_head(a, "chat.completion.chunk", chunk);
	strbuf_adds(chunk, ",\"choices\":[{\"index\":0,\"delta\":{");
	if (!a->begun)
		strbuf_adds(chunk, "\"role\":\"assistant\",");
	if (finish) {
		strbuf_addf(chunk, "},\"finish_reason\":\"%s\"}]}", finish);
	} else {
		strbuf_adds(chunk, "\"content\":");
		strbuf_add_jsonn(chunk, text, len);
		strbuf_adds(chunk, "},\"finish_reason\":null}]}");
	}
	a->begun = true;
	send_chunk(a, chunk);
}

static void say_token(struct answer *a, struct strbuf *chunk)
{
	size_t n = text_token(a->text.data + a->at, a->text.len - a->at);

	if (a->stream && a->messages)
		add_piece(a, a->text.data + a->at, n, chunk);
	else if (a->stream)
		add_chunk(a, a->text.data + a->at, n, NULL, chunk);
	a->at += n;
	a->said++;
}

static void finish_stream(struct answer *a, struct strbuf *chunk)
{
	if (a->messages) {
		end_message(a, chunk);
		return;
	}
	add_chunk(a, NULL, 0, a->shortened ? "length" : "stop", chunk);
	if (a->include_usage) {
		strbuf_adds(chunk, "data: ");
		add_head(a, "chat.completion.chunk", chunk);
		strbuf_adds(chunk, ",\"choices\":[],");
		add_usage(a, chunk);
		strbuf_addc(chunk, '}');
		send_chunk(a, chunk);
	}
	strbuf_adds(chunk, "data: [DONE]");
	send_chunk(a, chunk);
	http_stream_end(a->conn);
}

static void add_completion(const struct answer *a, struct strbuf *body)
{
	add_head(a, "chat.completion", body);
	strbuf_adds(body,
		    ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
	strbuf_add_jsonn(body, strbuf_str(&a->text), a->text.len);
	strbuf_addf(body, "},\"finish_reason\":\"%s\"}],", a->shortened ? "length" : "stop");
	add_usage(a, body);
	strbuf_addc(body, '}');
}

static void finish_whole(struct answer *a, struct strbuf *body)
{
	if (a->messages)
		add_message(a, stop_reason(a), a->said, body);
	else
		add_completion(a, body);
	a->model->stats.bytes_out += (int64_t)body->len;
	http_reply(a->conn, 200, NULL, body->data, body->len);
}

/* The timer: one token, or with no pace all that is left. */
static void on_tick(struct timer *timer, void *arg)
{
	struct answer *a = arg;
	struct strbuf chunk = {0};

	(void)timer;
	if (!a->begun && a->stream)
		http_stream_begin(a->conn);
	while (a->said < a->tokens && a->said != a->cut_after) {
		say_token(a, &chunk);
		if (a->knobs.token_ms > 0)
			break;
	}
	if (a->said == a->cut_after) {
		http_cut(a->conn);
		answer_end(a, &a->model->stats.cut);
	} else if (a->said < a->tokens) {
		timer_set(a->sim->loop, &a->timer, (int64_t)(a->knobs.token_ms * 1000));
	} else {
		http_on_closed(a->conn, NULL, NULL);
		if (a->stream)
			finish_stream(a, &chunk);
		else
			finish_whole(a, &chunk);
		answer_end(a, &a->model->stats.completed);
	}
	strbuf_done(&chunk);
}

static void make_answer(struct answer *a, const struct ask *ask)
{
	size_t at = 0;

	text_summarise(strbuf_str(&ask->document), ask->document.len, a->model->manner, &a->text);
	while (at < a->text.len && a->tokens < ask->max_tokens) {
		at += text_token(a->text.data + at, a->text.len - at);
		a->tokens++;
	}
	a->shortened = at < a->text.len;
	a->text.data[at] = '\0';
	a->text.len = at;
}

static void start_answer(struct sim *sim, struct http_conn *conn, struct model *model,
			 const struct knobs *knobs, const struct ask *ask)
{
	struct answer *a = xcalloc(1, sizeof(*a));

	a->sim = sim;
	a->conn = conn;
	a->model = model;
	a->knobs = *knobs;
	a->prompt_tokens = ask->prompt_tokens;
	a->stream = ask->stream;
	a->include_usage = ask->include_usage;
	a->messages = ask->messages;
	a->id = ++sim->next_id;
	a->created = loop_wall_us(sim->loop) / 1000000;
	a->cut_after = -1;
	timer_init(&a->timer, on_tick, a);
	make_answer(a, ask);
	if (!sim_admit(sim, conn, model, knobs, a->prompt_tokens, a->tokens)) {
		answer_free(a);
		return;
	}
	model->stats.streams += a->stream;
	http_on_closed(conn, on_closed, a);
	if (sim_roll(sim, knobs->hang_rate, knobs->hang_count, &model->knobs.hang_count)) {
		model->stats.hung++; /* ends when the client has had enough */
		return;
	}
	if (sim_roll(sim, knobs->cut_rate, knobs->cut_count, &model->knobs.cut_count))
		a->cut_after = (int64_t)knobs->cut_after < a->tokens ? (int64_t)knobs->cut_after
								     : a->tokens - 1;
	/* Not in pieces: the client waits for the whole time that the tokens take. */
	timer_set(sim->loop, &a->timer, (int64_t)(knobs->first_token_ms * 1000));
}

static void take_request(struct sim *sim, struct http_conn *conn, const struct http_req *req,
			 bool messages)
{
	struct error err;
	struct ask ask = {.messages = messages};
	struct knobs knobs;
	struct model *model;
	json_t *doc = json_parse(req->body, req->body_len, &err);

	if (!doc || !json_is_object(doc)) {
		sim_error(conn, 400, "invalid_request_error", NULL, "the body is not a JSON object",
			  0);
		json_decref(doc);
		return;
	}
	if (json_get_text(doc, "model", true, &ask.model, &err) != 0) {
		sim_error(conn, 400, "invalid_request_error", NULL, err.msg, 0);
	} else if ((model = sim_enter(sim, conn, req, ask.model, &knobs)) != NULL) {
		if (messages && json_object_get(doc, "max_tokens") == NULL) {
			model->stats.rejected++;
			sim_error(conn, 400, "invalid_request_error", NULL,
				  "max_tokens: field required", 0);
		} else if (read_ask(doc, &ask, &err) != 0) {
			model->stats.rejected++;
			sim_error(conn, 400, "invalid_request_error", NULL, err.msg, 0);
		} else {
			start_answer(sim, conn, model, &knobs, &ask);
		}
	}
	strbuf_done(&ask.document);
	json_decref(doc);
}

void chat_request(struct sim *sim, struct http_conn *conn, const struct http_req *req)
{
	take_request(sim, conn, req, false);
}

void messages_request(struct sim *sim, struct http_conn *conn, const struct http_req *req)
{
	take_request(sim, conn, req, true);
}
