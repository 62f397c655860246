/* One timeline as text: what it is, its events with times since the start, its stages and attempts.
 * Pure. */
#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "tools/penstock/cli.h"

#define BAR 24 /* columns of a stage's bar */

static const char *text(const json_t *o, const char *path)
{
	return json_string_value(cli_path(o, path));
}

static double number(const json_t *o, const char *path, double otherwise)
{
	const json_t *v = cli_path(o, path);

	return json_is_number(v) ? json_number_value(v) : otherwise;
}

/* An event's members stand in data, or, where they are long, shortened in summary. */
static const json_t *member(const json_t *event, const char *name)
{
	const json_t *v = json_object_get(json_object_get(event, "data"), name);

	return v ? v : json_object_get(json_object_get(event, "summary"), name);
}

static const char *dim(bool colour)
{
	return colour ? "\033[2m" : "";
}

static const char *bold(bool colour)
{
	return colour ? "\033[1m" : "";
}

static const char *plain(bool colour)
{
	return colour ? "\033[0m" : "";
}

static void line(struct strbuf *out, const char *name, const char *value)
{
	if (!value || !*value)
		return;
	strbuf_addf(out, "%-9s", name);
	cli_clean(out, value);
	strbuf_addc(out, '\n');
}

/* The first event that says where it came from. */
static const char *first(const json_t *events, const char *name)
{
	size_t i;
	json_t *e;

	json_array_foreach((json_t *)events, i, e) if (text(e, name)) return text(e, name);
	return NULL;
}

static void task_line(struct strbuf *out, const json_t *task)
{
	if (!text(task, "task"))
		return;
	strbuf_addf(out, "%-9s", "task");
	cli_clean(out, text(task, "task"));
	strbuf_addf(out, "  %s version %.0f  %s\n",
		    text(task, "pipeline") ? text(task, "pipeline") : "?",
		    number(task, "version", 0), text(task, "state") ? text(task, "state") : "?");
}

/* A session or a trace may have several tasks: a line each. */
static void task_lines(struct strbuf *out, const json_t *tasks)
{
	size_t i;
	json_t *task;

	json_array_foreach((json_t *)tasks, i, task) task_line(out, task);
}

static void head(struct strbuf *out, const json_t *t, bool colour)
{
	const json_t *task = json_object_get(t, "task"), *events = json_object_get(t, "events");

	if (json_is_array(task))
		task = json_array_get(task, 0);
	strbuf_addf(out, "%s%s %s%s\n", bold(colour), text(t, "kind") ? text(t, "kind") : "?",
		    text(t, "id") ? text(t, "id") : "", plain(colour));
	line(out, "tenant", text(t, "tenant"));
	line(out, "trace", text(t, "trace"));
	line(out, "session", text(t, "session") ? text(t, "session") : first(events, "session"));
	line(out, "by", first(events, "principal"));
	line(out, "router", first(events, "router"));
	if (!text(t, "kind") || strcmp(text(t, "kind"), "task")) {
		task_lines(out, json_object_get(t, "tasks"));
	} else if (json_is_object(task)) {
		strbuf_addf(out, "%-9s%s version %.0f\n", "pipeline",
			    text(task, "pipeline") ? text(task, "pipeline") : "?",
			    number(task, "version", 0));
		line(out, "worker", text(task, "worker"));
		line(out, "state", text(task, "state"));
	}
}

static void add_words(struct strbuf *out, const json_t *e, bool several)
{
	static const char *const names[] = {"pipeline", "kind",    "model", "worker",
					    "reason",   "message", "by"};
	const json_t *stage = member(e, "stage"), *attempt = member(e, "attempt");

	/* Of several tasks: which, by the end of its id (the beginning may be the time). */
	if (several && text(e, "channel") && !strncmp(text(e, "channel"), "task.", 5) &&
	    strlen(text(e, "channel")) > 13)
		strbuf_addf(out, "…%s  ", text(e, "channel") + strlen(text(e, "channel")) - 8);
	if (json_is_string(stage))
		strbuf_adds(out, json_string_value(stage));
	if (json_integer_value(attempt) > 1)
		strbuf_addf(out, " (attempt %d)", (int)json_integer_value(attempt));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *word = json_string_value(member(e, names[i]));

		if (word)
			strbuf_addf(out, "%s%s", out->len ? "  " : "", word);
	}
	if (member(e, "duration_ms"))
		strbuf_addf(out, "%s%lld ms", out->len ? "  " : "",
			    (long long)json_integer_value(member(e, "duration_ms")));
}

static void event_lines(struct strbuf *out, const json_t *events, bool several, bool colour)
{
	size_t i;
	json_t *e;
	struct strbuf words = {0};

	strbuf_addf(out, "\n%s%10s  %8s  %-21s %-48s %s%s\n", dim(colour), "ms", "offset", "event",
		    "", "event id", plain(colour));
	json_array_foreach((json_t *)events, i, e)
	{
		size_t w;

		strbuf_reset(&words);
		add_words(&words, e, several);
		if (!words.len)
			strbuf_adds(&words, text(e, "channel") ? text(e, "channel") : "");
		for (size_t k = 0; k < words.len; k++)
			if ((unsigned char)words.data[k] < 0x20)
				words.data[k] = ' ';
		strbuf_addf(out, "%10.1f  %8.0f  %-21s %s", number(e, "ms", 0),
			    number(e, "offset", 0), text(e, "type") ? text(e, "type") : "",
			    strbuf_str(&words));
		for (w = cli_width(strbuf_str(&words)); w < 48; w++)
			strbuf_addc(out, ' ');
		strbuf_addf(out, " %s%s%s\n", dim(colour),
			    text(e, "event_id") ? text(e, "event_id") : "", plain(colour));
	}
	strbuf_done(&words);
}

/* Clamped before it becomes an integer: the numbers come from outside. */
static int column(double at, double total, int max)
{
	double c = total > 0 ? at / total * BAR : 0;

	return c > 0 ? (c < max ? (int)c : max) : 0;
}

static void bar(struct strbuf *out, double from, double to, double total)
{
	int a = column(from, total, BAR - 1), b = column(to, total, BAR);

	b = b > a ? b : a + 1;
	for (int i = 0; i < BAR; i++)
		strbuf_adds(out, i >= a && i < b ? "━" : "·");
}

static void attempt_line(struct strbuf *out, const json_t *a, double total)
{
	const char *state = text(a, "state"), *model = text(a, "model");
	double from = number(a, "start_ms", 0), to = number(a, "end_ms", from);

	strbuf_addf(out, "  %-14s %-10s %3.0f  %-12s %-12s %-10s ",
		    text(a, "stage") ? text(a, "stage") : "",
		    text(a, "kind") ? text(a, "kind") : "", number(a, "attempt", 1),
		    text(a, "worker") ? text(a, "worker") : "-", model ? model : "-",
		    state ? state : "-");
	bar(out, from, to, total);
	strbuf_addf(out, " %8.1f ms", to - from);
	if (number(a, "latency_ms", -1) >= 0)
		strbuf_addf(out, "  model %.0f ms", number(a, "latency_ms", 0));
	if (number(a, "first_token_ms", -1) >= 0)
		strbuf_addf(out, ", first token %.0f ms", number(a, "first_token_ms", 0));
	if (cli_path(a, "usage.total_tokens"))
		strbuf_addf(out, "  %.0f + %.0f tokens", number(a, "usage.prompt_tokens", 0),
			    number(a, "usage.completion_tokens", 0));
	if (text(a, "reason")) {
		strbuf_adds(out, "  ");
		cli_clean(out, text(a, "reason"));
	}
	strbuf_addc(out, '\n');
}

void cli_timeline(struct strbuf *out, const json_t *t, bool colour)
{
	const json_t *events = json_object_get(t, "events"),
		     *attempts = json_object_get(t, "attempts");
	double total = number(json_array_get(events, json_array_size(events) - 1), "ms", 0);
	size_t i;
	json_t *a;

	head(out, t, colour);
	event_lines(out, events, json_array_size(json_object_get(t, "tasks")) > 1, colour);
	if (json_array_size(attempts)) {
		strbuf_addf(out, "\n%s  %-14s %-10s %3s  %-12s %-12s %-10s%s\n", dim(colour),
			    "stage", "kind", "try", "worker", "model", "state", plain(colour));
		json_array_foreach((json_t *)attempts, i, a) attempt_line(out, a, total);
	}
	if (cli_path(t, "task.usage.total_tokens"))
		strbuf_addf(out, "\n  %.0f tokens (%.0f + %.0f) in %.1f ms\n",
			    number(t, "task.usage.total_tokens", 0),
			    number(t, "task.usage.prompt_tokens", 0),
			    number(t, "task.usage.completion_tokens", 0), total);
	if (json_is_true(json_object_get(t, "truncated")))
		strbuf_adds(out, "  (there are more events than are shown)\n");
}
