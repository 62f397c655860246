/* task run, get, cancel. A followed task goes over a socket: its tokens are printed as they are
 * made. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/ids.h"
#include "common/json.h"
#include "tools/penstock/cli.h"

static const char *word(const json_t *f, const char *name)
{
	const char *w = json_string_value(json_object_get(f, name));

	return w ? w : "";
}

static int edge_task(struct cli *cli, const char *method, const char *task)
{
	struct strbuf path = {0};
	struct cli_answer a;
	int rc;

	strbuf_adds(&path, "/tasks/");
	cli_segment(&path, task);
	rc = cli_edge(cli, method, path.data, NULL, &a);
	strbuf_done(&path);
	return rc == CLI_OK ? cli_show(cli, &a) : rc;
}

int cmd_task_get(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return edge_task(cli, "GET", argv[0]);
}

/* With --tenant as an operator, else as the tenant's client. */
int cmd_task_cancel(struct cli *cli, int argc, char **argv)
{
	struct cli_option o[] = {{"--tenant", false, NULL}, {"--reason", false, NULL}};
	struct strbuf path = {0}, header = {0};
	const char *headers[2] = {NULL, NULL};
	struct error err = {0};
	struct cli_answer a;
	int rc;

	if (cli_options(&argc, argv, o, 2, &err) != 0 || argc != 1)
		return cli_usage(&err);
	if (!o[0].value)
		return edge_task(cli, "DELETE", argv[0]);
	if (o[1].value) {
		if (strpbrk(o[1].value, "\r\n")) {
			err_set(&err, ERR_REJECTED, "--reason TEXT: one line, for the audit");
			return cli_usage(&err);
		}
		strbuf_addf(&header, "X-Audit-Reason: %s", o[1].value);
		headers[0] = header.data;
	}
	strbuf_adds(&path, "/tasks/");
	cli_segment(&path, argv[0]);
	strbuf_adds(&path, ":cancel?tenant=");
	cli_segment(&path, o[0].value);
	rc = cli_control(cli, "POST", path.data, NULL, headers, &a);
	strbuf_done(&path);
	strbuf_done(&header);
	return rc == CLI_OK ? cli_show(cli, &a) : rc;
}

/* --- following ----------------------------------------------------------------------------- */

struct follower {
	struct cli *cli;
	char stage[80]; /* whose text is on the screen now */
	bool mid_line;
	int result; /* -1: the task goes on */
};

static void end_line(struct follower *f)
{
	if (f->mid_line)
		putchar('\n');
	f->mid_line = false;
	f->stage[0] = 0;
}

static void on_delta(struct follower *f, const json_t *d)
{
	const char *stage = word(d, "stage"), *data = word(d, "data");

	if (f->cli->json)
		return;
	if (strcmp(f->stage, stage) != 0) {
		end_line(f);
		snprintf(f->stage, sizeof(f->stage), "%s", stage);
		printf("%s▌ %s%s\n", f->cli->colour ? "\033[2m" : "", stage,
		       f->cli->colour ? "\033[0m" : "");
	}
	/* Text of a model goes to a terminal: no control characters but the end of a line. */
	for (const char *p = data; *p; p++)
		if ((unsigned char)*p >= 0x20 || *p == '\n' || *p == '\t')
			putchar(*p);
	f->mid_line = true;
	fflush(stdout);
}

static void on_reset(struct follower *f, const json_t *r)
{
	if (f->cli->json)
		return;
	end_line(f);
	printf("(%s starts again: what stands above is void)\n", word(r, "stage"));
}

static void on_end(struct follower *f, const json_t *event, const char *type)
{
	const json_t *data = json_object_get(event, "data");

	end_line(f);
	f->result = strcmp(type, "task.completed") == 0 ? CLI_OK : CLI_FAILED;
	if (f->cli->json) {
		cli_print_json(event);
	} else if (f->result == CLI_OK) {
		printf("%s▌ result%s\n", f->cli->colour ? "\033[1m" : "",
		       f->cli->colour ? "\033[0m" : "");
		cli_print_json(json_object_get(data, "output"));
	} else {
		fprintf(stderr, "penstock: %s: %s %s %s\n", type, word(data, "stage"),
			word(data, "reason"), word(data, "message"));
	}
}

static void on_event(struct follower *f, const json_t *e)
{
	static const char *const ends[] = {"task.completed", "task.failed", "task.cancelled",
					   "task.expired"};
	const char *type = word(e, "type");
	const json_t *data = json_object_get(e, "data");

	for (size_t i = 0; i < 4; i++)
		if (strcmp(type, ends[i]) == 0)
			on_end(f, e, type);
	if (strcmp(type, "task.stage.failed") == 0 && !f->cli->json) {
		end_line(f);
		printf("(%s: attempt %lld failed: %s)\n", word(data, "stage"),
		       (long long)json_integer_value(json_object_get(data, "attempt")),
		       word(data, "reason"));
	}
}

static void on_frame(struct follower *f, const json_t *frame, const char *channel)
{
	const char *op = word(frame, "op");

	if (strcmp(op, "error") == 0) {
		end_line(f);
		fprintf(stderr, "penstock: %s: %s\n", word(frame, "code"), word(frame, "message"));
		f->result = CLI_FAILED;
	} else if (strcmp(op, "accepted") == 0) {
		fprintf(stderr, "task %s%s\n", word(frame, "task"),
			json_is_true(json_object_get(frame, "duplicate"))
			    ? " (was started before with this key)"
			    : "");
	} else if (strcmp(word(frame, "channel"), channel) == 0) {
		if (strcmp(op, "delta") == 0)
			on_delta(f, frame);
		else if (strcmp(op, "reset") == 0)
			on_reset(f, frame);
		else if (strcmp(op, "event") == 0)
			on_event(f, frame);
	}
}

static int follow(struct cli *cli, const json_t *frame)
{
	struct follower f = {.cli = cli, .result = -1};
	struct strbuf channel = {0};
	struct error err = {0};
	struct cli_socket *s;

	if (!cli->key)
		err_set(&err, ERR_REJECTED, "no API key: --key or PENSTOCK_KEY");
	s = cli->key ? cli_socket_open(cli->edge, cli->key, &err) : NULL;
	if (!s || cli_socket_send(s, frame, &err) != 0)
		f.result = cli_fail(&err);
	while (f.result < 0) {
		json_t *in = cli_socket_read(s, -1, &err);

		if (!in) {
			end_line(&f);
			f.result = cli_fail(&err);
			break;
		}
		if (strcmp(word(in, "op"), "accepted") == 0) {
			strbuf_reset(&channel);
			strbuf_adds(&channel, word(in, "channel"));
		}
		on_frame(&f, in, strbuf_str(&channel));
		json_decref(in);
	}
	strbuf_done(&channel);
	cli_socket_close(s);
	return f.result;
}

static int submit(struct cli *cli, const json_t *body)
{
	struct cli_answer a;
	int rc = cli_edge(cli, "POST", "/tasks", body, &a);

	return rc == CLI_OK ? cli_show(cli, &a) : rc;
}

int cmd_task_run(struct cli *cli, int argc, char **argv)
{
	struct cli_option o[] = {{"--key", false, NULL},
				 {"--deadline", false, NULL},
				 {"--follow", true, NULL},
				 {"--at", false, NULL}};
	struct error err = {0};
	char key[32];
	long deadline = 0;
	json_t *input, *body;
	int rc;

	if (cli_options(&argc, argv, o, 4, &err) != 0 || argc != 2 ||
	    (o[1].value && cli_int(o[1].value, 1, INT32_MAX, &deadline, &err) != 0) ||
	    !(input = cli_value(argv[1], &err))) {
		fprintf(stderr, "penstock: %s\n", *err.msg ? err.msg : "PIPELINE INPUT are wanted");
		return CLI_USAGE;
	}
	/* A key of its own for each run: the same input twice is two tasks. */
	secret_random(16, key);
	body = json_pack("{s:s,s:s,s:o}", "pipeline", argv[0], "key", o[0].value ? o[0].value : key,
			 "input", input);
	if (deadline)
		json_object_set_new(body, "deadline_ms", json_integer(deadline));
	if (o[3].value)
		json_object_set_new(body, "not_before", json_string(o[3].value));
	if (o[2].value) {
		json_object_set_new(body, "op", json_string("task"));
		json_object_set_new(body, "id", json_string("t"));
		rc = follow(cli, body);
	} else {
		rc = submit(cli, body);
	}
	json_decref(body);
	return rc;
}
