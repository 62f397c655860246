/* publish and subscribe: the edge's HTTP door and its sockets. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/json.h"
#include "tools/penstock/cli.h"

int cmd_publish(struct cli *cli, int argc, char **argv)
{
	struct cli_option o[] = {{"--key", false, NULL}};
	struct cli_answer a;
	struct error err = {0};
	json_t *data, *body;
	int rc;

	if (cli_options(&argc, argv, o, 1, &err) != 0 || argc != 3 ||
	    !(data = cli_value(argv[2], &err))) {
		fprintf(stderr, "penstock: %s\n",
			*err.msg ? err.msg : "CHANNEL TYPE DATA are wanted");
		return CLI_USAGE;
	}
	body = json_pack("{s:s,s:s,s:o}", "channel", argv[0], "type", argv[1], "data", data);
	if (o[0].value)
		json_object_set_new(body, "key", json_string(o[0].value));
	rc = cli_edge(cli, "POST", "/events", body, &a);
	json_decref(body);
	return rc == CLI_OK ? cli_show(cli, &a) : rc;
}

/* --- subscribe ----------------------------------------------------------------------------- */

static json_t *subscribe_frame(const char *channel, const char *after, struct error *err)
{
	json_t *frame =
	    json_pack("{s:s,s:s,s:s}", "op", "subscribe", "id", "s", "channel", channel);
	const char *colon = after ? strrchr(after, ':') : NULL;
	json_t *position;
	long offset;

	if (!after)
		return frame;
	if (cli_int(colon ? colon + 1 : after, 0, INT64_MAX, &offset, err) != 0) {
		json_decref(frame);
		return NULL;
	}
	position = json_pack("{s:I}", "offset", (json_int_t)offset);
	if (colon)
		json_object_set_new(position, "epoch",
				    json_stringn(after, (size_t)(colon - after)));
	json_object_set_new(frame, "after", position);
	return frame;
}

static void print_event(const struct cli *cli, const json_t *f)
{
	const json_t *offset = json_object_get(f, "offset");
	struct strbuf out = {0};

	if (cli->json) {
		json_add(&out, f);
	} else {
		strbuf_addf(&out, "%s  %8lld  %-20s ",
			    json_string_value(json_object_get(f, "time")),
			    (long long)json_integer_value(offset),
			    json_string_value(json_object_get(f, "type")));
		json_add(&out, json_object_get(f, "data"));
	}
	strbuf_addc(&out, '\n');
	cli_print(&out);
	strbuf_done(&out);
}

/* Another frame than an event: 0 to go on, else the command's result + 1. */
static int other_frame(const struct cli *cli, const json_t *f, const char *op)
{
	if (strcmp(op, "error") == 0) {
		fprintf(stderr, "penstock: %s: %s\n", json_string_value(json_object_get(f, "code")),
			json_string_value(json_object_get(f, "message")));
		return CLI_FAILED + 1;
	}
	if (strcmp(op, "subscribed") == 0) {
		fprintf(stderr, "subscribed at %s:%lld%s\n",
			json_string_value(json_object_get(f, "epoch")),
			(long long)json_integer_value(json_object_get(f, "offset")),
			json_is_true(json_object_get(f, "recovered"))
			    ? ""
			    : " (what was before is not recovered)");
	} else if (cli->json || strcmp(op, "gap") == 0 || strcmp(op, "drain") == 0) {
		struct strbuf out = {0};

		json_add(&out, f);
		strbuf_addc(&out, '\n');
		fputs(out.data, cli->json ? stdout : stderr);
		strbuf_done(&out);
	}
	return 0;
}

static int follow(struct cli *cli, struct cli_socket *s, long count, long timeout_s)
{
	time_t end = time(NULL) + timeout_s;
	long seen = 0;

	while (count == 0 || seen < count) {
		struct error err = {0};
		long left = timeout_s ? (long)(end - time(NULL)) * 1000 : -1;
		json_t *f = timeout_s && left <= 0 ? NULL : cli_socket_read(s, (int)left, &err);
		const char *op;
		int rc = 0;

		if (!f && (!err.code || err.code == ERR_TRANSIENT))
			return count ? CLI_FAILED : CLI_OK; /* time is over: fewer than asked for,
							       or all there was */
		if (!f)
			return cli_fail(&err);
		op = json_string_value(json_object_get(f, "op"));
		if (op && strcmp(op, "event") == 0) {
			print_event(cli, f);
			seen++;
		} else if (op) {
			rc = other_frame(cli, f, op);
		}
		json_decref(f);
		if (rc)
			return rc - 1;
	}
	return CLI_OK;
}

int cmd_subscribe(struct cli *cli, int argc, char **argv)
{
	struct cli_option o[] = {
	    {"--after", false, NULL}, {"--count", false, NULL}, {"--timeout", false, NULL}};
	struct error err = {0};
	struct cli_socket *s;
	long count = 0, timeout_s = 0;
	json_t *frame = NULL;
	int rc;

	if (cli_options(&argc, argv, o, 3, &err) != 0 || argc != 1 ||
	    (o[1].value && cli_int(o[1].value, 1, INT32_MAX, &count, &err) != 0) ||
	    (o[2].value && cli_int(o[2].value, 1, 86400, &timeout_s, &err) != 0) ||
	    !(frame = subscribe_frame(argv[0], o[0].value, &err))) {
		fprintf(stderr, "penstock: %s\n", *err.msg ? err.msg : "one CHANNEL is wanted");
		return CLI_USAGE;
	}
	if (!cli->key)
		err_set(&err, ERR_REJECTED, "no API key: --key or PENSTOCK_KEY");
	s = cli->key ? cli_socket_open(cli->edge, cli->key, &err) : NULL;
	rc = s && cli_socket_send(s, frame, &err) == 0 ? follow(cli, s, count, timeout_s)
						       : cli_fail(&err);
	cli_socket_close(s);
	json_decref(frame);
	return rc;
}
