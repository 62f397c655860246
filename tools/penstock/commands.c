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
    {"tenant", "origins", "TENANT [ORIGIN … | any]",
     "shows the tenant, or sets the web pages that may connect", 1, -1, cmd_tenant_origins},
    {"key", "create",
     "TENANT [--name N] [--scopes publish,subscribe,task] [--expires TIME] [--subscribe PATTERNS]"
     " [--publish PATTERNS] [--pipelines PATTERNS]",
     "makes an API key and shows it, once", 1, 1, cmd_key_create},
    {"key", "list", "TENANT", "its API keys, without their secrets", 1, 1, cmd_key_list},
    {"key", "revoke", "TENANT KEY-ID", "ends a key", 2, 2, cmd_key_revoke},
    {"signing-key", "create",
     "TENANT ALG [--id KID] [--name N] [--public-key @FILE | --secret @FILE] [--expires TIME]",
     "lets tokens in that this key signs: ALG is HS256, RS256 or ES256", 2, 2, cmd_signing_create},
    {"signing-key", "list", "TENANT", "its signing keys, without their secrets", 1, 1,
     cmd_signing_list},
    {"signing-key", "revoke", "TENANT KID", "ends a signing key and what came in by it", 2, 2,
     cmd_signing_revoke},
    {"hook", "create", "TENANT PIPELINE [--name TEXT] [--priority N]",
     "makes an inbound hook that starts the pipeline; shows its secret once", 2, 2,
     cmd_hook_create},
    {"hook", "deliver", "TENANT URL CHANNELS [--types PATTERNS] [--name TEXT] [--allow-private]",
     "makes an outgoing hook for the channels' durable events; shows its secret once", 3, 3,
     cmd_hook_deliver},
    {"hook", "list", "TENANT", "its hooks, without their secrets", 1, 1, cmd_hook_list},
    {"hook", "set",
     "TENANT HOOK [--url URL] [--channels PATTERNS] [--types PATTERNS] [--name TEXT] [--pipeline "
     "P]",
     "changes what is said of it; what waits goes to the new address", 2, 2, cmd_hook_set},
    {"hook", "status", "TENANT HOOK", "how far it is and what last became of it", 2, 2,
     cmd_hook_status},
    {"hook", "enable", "TENANT HOOK", "lets an outgoing hook go on where it stopped", 2, 2,
     cmd_hook_enable},
    {"hook", "disable", "TENANT HOOK", "stops an outgoing hook where it is", 2, 2,
     cmd_hook_disable},
    {"hook", "rotate", "TENANT HOOK [--grace SECONDS]",
     "gives it another secret and shows it once; the old one counts for a day longer", 2, 2,
     cmd_hook_rotate},
    {"hook", "delete", "TENANT HOOK", "ends a hook", 2, 2, cmd_hook_delete},
    {"schedule", "put",
     "TENANT NAME CRON PIPELINE [--zone ZONE] [--input JSON] [--priority N] [--missed "
     "skip|run_once]"
     " [--paused]",
     "starts a task of the pipeline at each time of the cron expression", 4, 4, cmd_schedule_put},
    {"schedule", "list", "TENANT", "its schedules, when they are due, how they ran", 1, 1,
     cmd_schedule_list},
    {"schedule", "get", "TENANT NAME", "one schedule", 2, 2, cmd_schedule_get},
    {"schedule", "pause", "TENANT NAME", "starts nothing until it is resumed", 2, 2,
     cmd_schedule_pause},
    {"schedule", "resume", "TENANT NAME", "goes on with the next time that is due", 2, 2,
     cmd_schedule_resume},
    {"schedule", "delete", "TENANT NAME", "ends a schedule", 2, 2, cmd_schedule_delete},
    {"token", NULL,
     "TENANT KID SUB [--secret @FILE] [--ttl S] [--subscribe PATTERNS] [--publish PATTERNS]"
     " [--pipelines PATTERNS]",
     "signs a token by HS256, with a secret from stdin or a file", 3, 3, cmd_token},
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
    {"task", "cancel", "TASK [--tenant T [--reason TEXT]]",
     "cancels a task; with --tenant as an operator", 1, 1, cmd_task_cancel},
    {"task", "list", "TENANT [--pipeline P] [--state S] [--last N]",
     "a tenant's tasks, the newest first", 1, 1, cmd_task_list},
    {"dead-letter", "list", "[--tenant T] [--pipeline P] [--reason R] [--last N]",
     "tasks that failed or expired, and why, the newest first", 0, 0, cmd_dead_list},
    {"dead-letter", "get", "TENANT TASK", "one of them, with its stages", 2, 2, cmd_dead_get},
    {"dead-letter", "redrive",
     "[--tenant T] [--pipeline P] [--reason R] [--state S] [--limit N] [--rate N]",
     "lets them live again, N a second: an operation", 0, 0, cmd_dead_redrive},
    {"task", "redrive", "TENANT TASK", "lets one dead letter live again: an operation", 2, 2,
     cmd_task_redrive},
    {"operation", "get", "OPERATION", "how far it is", 1, 1, cmd_operation_get},
    {"operation", "cancel", "OPERATION", "leaves what it has not begun", 1, 1,
     cmd_operation_cancel},
    {"replay", "put",
     "TENANT CHANNEL [--target CHANNEL | --hook HOOK | --pipeline P] [--after OFFSET] [--until "
     "OFFSET]"
     " [--rate N]",
     "delivers the channel's events again, N a second: to those who listen, a hook, a pipeline", 2,
     2, cmd_replay_put},
    {"replay", "list", "[--last N]", "the replays, the newest first", 0, 0, cmd_replay_list},
    {"replay", "show", "REPLAY", "how far it is, and what was refused", 1, 1, cmd_replay_show},
    {"replay", "pause", "REPLAY", "delivers nothing until it is resumed", 1, 1, cmd_replay_pause},
    {"replay", "resume", "REPLAY", "goes on where it stopped", 1, 1, cmd_replay_resume},
    {"replay", "cancel", "REPLAY", "leaves what it has not delivered", 1, 1, cmd_replay_cancel},
    {"usage", NULL,
     "[--tenant T] [--pipeline P] [--model M] [--from DAY] [--to DAY] [--by LIST] [--task TASK]",
     "calls, tokens and cost by day, tenant, pipeline and model, or of a task", 0, 0, cmd_usage},
    {"edge", "list", "", "the edges: who is connected where, what is drained", 0, 0, cmd_edge_list},
    {"edge", "get", "EDGE", "one edge", 1, 1, cmd_edge_get},
    {"edge", "drain", "EDGE --reason TEXT [--tenant T] [--deadline MS] [--spread MS]",
     "sends its clients elsewhere, or one tenant's, and takes no more", 1, 1, cmd_edge_drain},
    {"session", "list", "[--tenant T]", "who is connected, where", 0, 0, cmd_session_list},
    {"session", "disconnect", "SESSION --reason TEXT [--resume]",
     "closes its sockets; with --resume the client comes back and goes on", 1, 1,
     cmd_session_disconnect},
    {"edge", "undrain", "EDGE --reason TEXT [--tenant T]", "lets it serve them again", 1, 1,
     cmd_edge_undrain},
    {"worker", "list", "", "the workers: who is live, what is drained", 0, 0, cmd_worker_list},
    {"worker", "get", "WORKER", "one worker", 1, 1, cmd_worker_get},
    {"worker", "drain", "WORKER --reason TEXT [--grace MS]",
     "takes no more tasks; what runs may end within the grace, and goes on elsewhere", 1, 1,
     cmd_worker_drain},
    {"worker", "undrain", "WORKER --reason TEXT", "lets it take tasks again", 1, 1,
     cmd_worker_undrain},
    {"members", NULL, "", "the live processes", 0, 0, cmd_members},
    {"audit", "deliveries", "EVENT",
     "which sessions an event was sent to, acknowledged by, spilled for or missed by", 1, 1,
     cmd_audit_deliveries},
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
