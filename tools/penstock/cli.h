/* The operators' command: what its parts share.
 *
 * run.c reads the options and picks a command of the table; cmd_*.c are the commands; http.c and
 * socket.c speak to the control-plane and the edge; table.c and timeline.c turn JSON into text
 * (pure). One thread; a command's result is its exit status: 0 done, 1 refused or failed (said on
 * stderr), 2 wrong usage. */
#ifndef PENSTOCK_CLI_H
#define PENSTOCK_CLI_H

#include <jansson.h>
#include <stdbool.h>

#include "common/err.h"
#include "common/strbuf.h"

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

struct cli {
	char *control, *edge;  /* base URLs */
	char *admin_key, *key; /* of the control-plane; of the edge */
	bool json;             /* -o json: answers as they came */
	bool colour;           /* stdout is a terminal */
};

/* argv[0] is the word behind the group ("list"), or the command itself. */
typedef int cli_fn(struct cli *cli, int argc, char **argv);

struct cli_command {
	const char *group, *verb; /* verb NULL: the group is the command */
	const char *args;         /* for the usage line */
	const char *help;
	int min_args, max_args; /* without options; max -1: any */
	cli_fn *fn;
};

extern const struct cli_command cli_commands[]; /* ends with group NULL */
const struct cli_command *cli_find(int argc, char **argv, int *used);

/* The whole command; its exit status. */
int cli_main(int argc, char **argv);
/* The options before the command, argv[0] being the program: where the command begins, or -1. */
int cli_globals(struct cli *cli, int argc, char **argv);
/* The number of words is right. Those of a command with options are counted when these are taken
 * out. */
bool cli_fits(const struct cli_command *command, int argc, char **argv);

/* Options of one command, taken out of argv: --name VALUE, --name=VALUE, or --flag (value NULL in
 * the spec: set to "yes"). *argc counts what is left. -1 for an unknown or incomplete one, with a
 * message. */
struct cli_option {
	const char *name;
	bool flag;
	const char *value; /* NULL: not given */
};
int cli_options(int *argc, char **argv, struct cli_option *options, size_t n,
		struct error *err) MUST_CHECK;
/* "7", within [min, max]. */
int cli_int(const char *text, long min, long max, long *out, struct error *err) MUST_CHECK;
/* A JSON argument: text, "-" (stdin) or "@file" (.json as it is, anything else as {"document":
 * text}). */
json_t *cli_value(const char *arg, struct error *err);
/* A document: as cli_value(), and any other word is a file's name. */
json_t *cli_document(const char *arg, struct error *err);

/* A secret or a PEM: text, "-" (stdin) or "@file", without the line's end behind it. Owned by the
 * caller; NULL with *err. */
char *cli_text(const char *arg, struct error *err);
/* "a,b" as a list of texts. */
json_t *cli_words(const char *arg);

/* Fills what the environment and .run/env (of the current folder) say and the options did not. */
void cli_settings(struct cli *cli);

/* --- http.c */
struct cli_answer {
	long status;
	json_t *doc; /* NULL: no body, or no JSON */
	char etag[128];
};
/* headers: up to two more, or NULL. -1 if there was no answer at all. */
int cli_http(const char *method, const char *url, const char *token, const json_t *body,
	     const char *const *headers, struct cli_answer *answer, struct error *err) MUST_CHECK;
void cli_answer_done(struct cli_answer *answer);
/* A call of the control-plane: says on stderr what went wrong and returns CLI_FAILED, or CLI_OK
 * with the answer. */
int cli_control(struct cli *cli, const char *method, const char *path, const json_t *body,
		const char *const *headers, struct cli_answer *answer);
/* PUT, PATCH or DELETE of the newest state: its ETag goes along, so nobody's change is overwritten
 * unseen. may_be_new: PUT also makes what is not there. body is taken; the answer is shown. */
int cli_change(struct cli *cli, const char *method, const char *path, json_t *body,
	       bool may_be_new);
int cli_edge(struct cli *cli, const char *method, const char *path, const json_t *body,
	     struct cli_answer *answer);
/* All items of a list, page after page. */
int cli_list(struct cli *cli, const char *path, json_t **items);
/* One path segment, percent-encoded. */
void cli_segment(struct strbuf *path, const char *text);
int cli_fail(const struct error *err);

/* --- socket.c: a blocking client of penstock.v1.json */
struct cli_socket;
struct cli_socket *cli_socket_open(const char *edge, const char *token, struct error *err);
void cli_socket_close(struct cli_socket *s);
int cli_socket_send(struct cli_socket *s, const json_t *frame, struct error *err) MUST_CHECK;
/* The next frame; NULL at the deadline (err->code ERR_TRANSIENT) or when the edge closed.
 * timeout_ms -1: none. */
json_t *cli_socket_read(struct cli_socket *s, int timeout_ms, struct error *err);

/* --- table.c (pure) */
struct cli_column {
	const char *title;
	const char *path; /* "limits.rpm" */
};
void cli_table(struct strbuf *out, const json_t *items, const struct cli_column *columns, size_t n);
/* Member by member: "name   value". */
void cli_object(struct strbuf *out, const json_t *object);
/* Adds the text with a blank for each control character: none of it may reach a terminal. */
void cli_clean(struct strbuf *out, const char *text);
/* Columns on a screen of a UTF-8 text. */
size_t cli_width(const char *text);
const json_t *cli_path(const json_t *object, const char *path);

/* --- timeline.c (pure) */
void cli_timeline(struct strbuf *out, const json_t *timeline, bool colour);

void cli_print(const struct strbuf *text);
/* An answer, as a table or as JSON; done with it afterwards. Nothing for one without a body. */
int cli_show(struct cli *cli, struct cli_answer *answer);
/* The items of one page, as a table or as JSON. */
int cli_show_page(struct cli *cli, const char *path, const struct cli_column *columns, size_t n);
/* All items of a list, as a table or as JSON. */
int cli_show_list(struct cli *cli, const char *path, const struct cli_column *columns, size_t n);
/* Says what is wrong with the words (no message: their number); CLI_USAGE. */
int cli_usage(const struct error *err);
/* The document as it came, for -o json. */
void cli_print_json(const json_t *doc);

/* --- the commands */
cli_fn cmd_trace, cmd_members, cmd_audit, cmd_audit_deliveries;
cli_fn cmd_tenant_list, cmd_tenant_get, cmd_tenant_create, cmd_tenant_suspend, cmd_tenant_resume,
    cmd_tenant_delete, cmd_tenant_limits;
cli_fn cmd_tenant_origins;
cli_fn cmd_key_create, cmd_key_list, cmd_key_revoke;
cli_fn cmd_signing_create, cmd_signing_list, cmd_signing_revoke, cmd_token;
cli_fn cmd_type_list, cmd_type_create;
cli_fn cmd_model_list, cmd_model_get, cmd_model_put, cmd_model_delete;
cli_fn cmd_pipeline_list, cmd_pipeline_get, cmd_pipeline_put;
cli_fn cmd_edge_list, cmd_edge_get, cmd_edge_drain, cmd_edge_undrain;
cli_fn cmd_worker_list, cmd_worker_get, cmd_worker_drain, cmd_worker_undrain;
cli_fn cmd_session_list;
cli_fn cmd_session_disconnect;
cli_fn cmd_publish, cmd_subscribe;
cli_fn cmd_task_run, cmd_task_get, cmd_task_cancel, cmd_task_list;
cli_fn cmd_dead_list, cmd_dead_get, cmd_dead_redrive, cmd_task_redrive, cmd_operation_get,
    cmd_operation_cancel;
cli_fn cmd_usage;
cli_fn cmd_replay_put, cmd_replay_list, cmd_replay_show, cmd_replay_pause, cmd_replay_resume,
    cmd_replay_cancel;
cli_fn cmd_hook_list, cmd_hook_create, cmd_hook_deliver, cmd_hook_status, cmd_hook_enable,
    cmd_hook_disable, cmd_hook_rotate, cmd_hook_delete, cmd_hook_set;
cli_fn cmd_schedule_list, cmd_schedule_get, cmd_schedule_put, cmd_schedule_pause,
    cmd_schedule_resume, cmd_schedule_delete;
cli_fn cmd_trigger_list, cmd_trigger_get, cmd_trigger_put, cmd_trigger_pause, cmd_trigger_resume,
    cmd_trigger_delete;

#endif
