/* The table of commands. */
#include <string.h>

#include "tools/penstock/cli.h"

const struct cli_command cli_commands[] = {
    {"trace", NULL, "ID", "one timeline of whatever a session's, event's or task's id belongs to",
     1, 1, cmd_trace},
    {"tenant", "list", "", "all tenants", 0, 0, cmd_tenant_list},
    {"tenant", "get", "TENANT", "one tenant", 1, 1, cmd_tenant_get},
    {"tenant", "create", "TENANT [--name N] [--region R] [--weight W]", "makes a tenant", 1, 1,
     cmd_tenant_create},
    {"tenant", "suspend", "TENANT", "closes its sockets and refuses its commands", 1, 1,
     cmd_tenant_suspend},
    {"tenant", "resume", "TENANT", "lets a suspended tenant work again", 1, 1, cmd_tenant_resume},
    {"tenant", "delete", "TENANT", "removes a tenant", 1, 1, cmd_tenant_delete},
    {"tenant", "limits", "TENANT [NAME=VALUE …]", "shows or changes its limits", 1, -1,
     cmd_tenant_limits},
    {"key", "create", "TENANT [--name N] [--scopes publish,subscribe,task] [--expires TIME]",
     "makes an API key and shows it, once", 1, 1, cmd_key_create},
    {"key", "list", "TENANT", "its API keys, without their secrets", 1, 1, cmd_key_list},
    {"key", "revoke", "TENANT KEY-ID", "ends a key", 2, 2, cmd_key_revoke},
    {"type", "list", "TENANT", "its event types and their classes", 1, 1, cmd_type_list},
    {"type", "create", "TENANT TYPE CLASS [SCHEMA]",
     "declares an event type: CLASS is ephemeral or durable", 3, 4, cmd_type_create},
    {"model", "list", "", "all models", 0, 0, cmd_model_list},
    {"model", "get", "MODEL", "one model", 1, 1, cmd_model_get},
    {"model", "put", "MODEL DOCUMENT", "makes or replaces a model", 2, 2, cmd_model_put},
    {"model", "delete", "MODEL", "removes a model", 1, 1, cmd_model_delete},
    {"pipeline", "list", "", "all pipelines", 0, 0, cmd_pipeline_list},
    {"pipeline", "get", "PIPELINE [VERSION]", "a version, or the newest one", 1, 2,
     cmd_pipeline_get},
    {"pipeline", "put", "PIPELINE DOCUMENT", "adds a version", 2, 2, cmd_pipeline_put},
    {"publish", NULL, "CHANNEL TYPE DATA [--key K]", "publishes one event", 3, 3, cmd_publish},
    {"subscribe", NULL, "CHANNEL [--after EPOCH:OFFSET] [--count N] [--timeout S]",
     "prints events as they come; --after 0 begins with the earliest", 1, 1, cmd_subscribe},
    {"task", "run", "PIPELINE INPUT [--key K] [--deadline MS] [--follow]",
     "starts a task; --follow streams its tokens and waits for its end", 2, 2, cmd_task_run},
    {"task", "get", "TASK", "what a task has come to", 1, 1, cmd_task_get},
    {"task", "cancel", "TASK", "cancels a task", 1, 1, cmd_task_cancel},
    {"members", NULL, "", "the live processes", 0, 0, cmd_members},
    {"audit", NULL, "[--last N]", "who changed what, the newest first", 0, 0, cmd_audit},
    {0},
};

const struct cli_command *cli_find(int argc, char **argv, int *used)
{
	for (const struct cli_command *c = cli_commands; c->group; c++) {
		if (argc < 1 || strcmp(c->group, argv[0]) != 0)
			continue;
		if (!c->verb) {
			*used = 1;
			return c;
		}
		if (argc > 1 && strcmp(c->verb, argv[1]) == 0) {
			*used = 2;
			return c;
		}
	}
	return NULL;
}
