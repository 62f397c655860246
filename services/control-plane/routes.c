/* Which path and method is whose. */
#include "services/control-plane/resources.h"

static const char *const query_events[] = {"tenant",    "channel",    "after", "limit",
					   "page_size", "page_token", NULL};
static const char *const query_sessions[] = {"tenant", "page_size", "page_token", NULL};
static const char *const query_tenant[] = {"tenant", NULL};
static const char *const query_task[] = {"tenant", "validate_only", NULL};
static const char *const query_tasks[] = {"tenant",    "pipeline",   "state",
					  "page_size", "page_token", NULL};
static const char *const query_dead[] = {"tenant",    "pipeline",   "reason",
					 "page_size", "page_token", NULL};

static const char *const query_usage[] = {"tenant", "task", "pipeline",  "model",      "from",
					  "to",     "by",   "page_size", "page_token", NULL};

#define READ(fn)                                                                                   \
	{                                                                                          \
		(fn), ROLE_VIEWER, NULL                                                            \
	}
#define LIST(fn)                                                                                   \
	{                                                                                          \
		(fn), ROLE_VIEWER, query_page                                                      \
	}
#define EDIT(fn)                                                                                   \
	{                                                                                          \
		(fn), ROLE_OPERATOR, query_mutation                                                \
	}
#define ADMIN_READ(fn)                                                                             \
	{                                                                                          \
		(fn), ROLE_ADMIN, query_page                                                       \
	}
#define ADMIN_EDIT(fn)                                                                             \
	{                                                                                          \
		(fn), ROLE_ADMIN, query_mutation                                                   \
	}
#define NONE                                                                                       \
	{                                                                                          \
		0                                                                                  \
	}

/* GET, POST, PUT, PATCH, DELETE. The first pattern that fits counts: a verb comes before the plain
 * id. */
const struct api_route api_routes[] = {
    {"/v1/tenants", {LIST(tenants_list), EDIT(tenants_post), NONE, NONE, NONE}},
    {"/v1/tenants/{}:suspend", {NONE, EDIT(tenant_suspend), NONE, NONE, NONE}},
    {"/v1/tenants/{}:resume", {NONE, EDIT(tenant_resume), NONE, NONE, NONE}},
    {"/v1/tenants/{}",
     {READ(tenant_get), NONE, EDIT(tenant_put), EDIT(tenant_patch), EDIT(tenant_delete)}},
    {"/v1/tenants/{}/limits", {READ(limits_get), NONE, EDIT(limits_put), EDIT(limits_patch), NONE}},
    {"/v1/tenants/{}/keys", {LIST(keys_list), ADMIN_EDIT(keys_post), NONE, NONE, NONE}},
    {"/v1/tenants/{}/keys/{}", {READ(key_get), NONE, NONE, NONE, ADMIN_EDIT(key_delete)}},
    {"/v1/tenants/{}/signing-keys",
     {LIST(signing_list), ADMIN_EDIT(signing_post), NONE, NONE, NONE}},
    {"/v1/tenants/{}/signing-keys/{}",
     {READ(signing_get), NONE, NONE, NONE, ADMIN_EDIT(signing_delete)}},
    {"/v1/tenants/{}/hooks", {LIST(hooks_list), ADMIN_EDIT(hooks_post), NONE, NONE, NONE}},
    {"/v1/tenants/{}/hooks/{}/status", {READ(hook_status), NONE, NONE, NONE, NONE}},
    {"/v1/tenants/{}/hooks/{}:enable", {NONE, EDIT(hook_enable), NONE, NONE, NONE}},
    {"/v1/tenants/{}/hooks/{}:disable", {NONE, EDIT(hook_disable), NONE, NONE, NONE}},
    {"/v1/tenants/{}/hooks/{}:rotate", {NONE, ADMIN_EDIT(hook_rotate), NONE, NONE, NONE}},
    {"/v1/tenants/{}/hooks/{}",
     {READ(hook_get), NONE, ADMIN_EDIT(hook_put), ADMIN_EDIT(hook_patch), ADMIN_EDIT(hook_delete)}},
    {"/v1/tenants/{}/schedules", {LIST(schedules_list), NONE, NONE, NONE, NONE}},
    {"/v1/tenants/{}/schedules/{}",
     {READ(schedule_get), NONE, EDIT(schedule_put), NONE, EDIT(schedule_delete)}},
    {"/v1/tenants/{}/triggers", {LIST(triggers_list), NONE, NONE, NONE, NONE}},
    {"/v1/tenants/{}/triggers/{}",
     {READ(trigger_get), NONE, EDIT(trigger_put), NONE, EDIT(trigger_delete)}},
    {"/v1/tenants/{}/schemas", {LIST(types_list), NONE, NONE, NONE, NONE}},
    {"/v1/tenants/{}/schemas/{}/versions",
     {LIST(versions_list), EDIT(versions_post), NONE, NONE, NONE}},
    {"/v1/tenants/{}/schemas/{}/versions/{}",
     {READ(version_get), NONE, EDIT(version_put), EDIT(version_patch), EDIT(version_delete)}},
    {"/v1/models", {LIST(models_list), EDIT(models_post), NONE, NONE, NONE}},
    {"/v1/models/{}",
     {READ(model_get), NONE, EDIT(model_put), EDIT(model_patch), EDIT(model_delete)}},
    {"/v1/pipelines", {LIST(pipelines_list), NONE, NONE, NONE, NONE}},
    {"/v1/pipelines/{}/versions",
     {LIST(pipeline_versions_list), EDIT(pipeline_versions_post), NONE, NONE, NONE}},
    {"/v1/pipelines/{}/versions/{}",
     {READ(pipeline_get), NONE, EDIT(pipeline_put), NONE, EDIT(pipeline_delete)}},
    {"/v1/operators", {ADMIN_READ(operators_list), ADMIN_EDIT(operators_post), NONE, NONE, NONE}},
    {"/v1/operators/{}", {ADMIN_READ(operator_get), NONE, NONE, NONE, ADMIN_EDIT(operator_delete)}},
    {"/v1/audit", {LIST(audit_list), NONE, NONE, NONE, NONE}},
    {"/v1/events", {{events_list, ROLE_VIEWER, query_events}, NONE, NONE, NONE, NONE}},
    {"/v1/events/{}/timeline",
     {{event_timeline, ROLE_VIEWER, query_tenant}, NONE, NONE, NONE, NONE}},
    {"/v1/events/{}/deliveries",
     {{event_deliveries, ROLE_VIEWER, query_tenant}, NONE, NONE, NONE, NONE}},
    {"/v1/tasks", {{tasks_list, ROLE_VIEWER, query_tasks}, NONE, NONE, NONE, NONE}},
    {"/v1/dead-letters", {{dead_letters_list, ROLE_VIEWER, query_dead}, NONE, NONE, NONE, NONE}},
    {"/v1/dead-letters:redrive", {NONE, EDIT(dead_letters_redrive), NONE, NONE, NONE}},
    {"/v1/replays", {LIST(replays_list), EDIT(replays_post), NONE, NONE, NONE}},
    {"/v1/replays/{}:pause", {NONE, EDIT(replay_pause), NONE, NONE, NONE}},
    {"/v1/replays/{}:resume", {NONE, EDIT(replay_resume), NONE, NONE, NONE}},
    {"/v1/replays/{}:cancel", {NONE, EDIT(replay_cancel), NONE, NONE, NONE}},
    {"/v1/replays/{}", {READ(replay_get), NONE, NONE, NONE, NONE}},
    {"/v1/operations/{}:cancel", {NONE, EDIT(operation_cancel), NONE, NONE, NONE}},
    {"/v1/operations/{}", {READ(operation_get), NONE, NONE, NONE, NONE}},
    {"/v1/tasks/{}:redrive", {NONE, {task_redrive, ROLE_OPERATOR, query_task}, NONE, NONE, NONE}},
    {"/v1/tasks/{}:cancel", {NONE, {task_cancel, ROLE_OPERATOR, query_task}, NONE, NONE, NONE}},
    {"/v1/usage", {{usage_list, ROLE_VIEWER, query_usage}, NONE, NONE, NONE, NONE}},
    {"/v1/tasks/{}", {{task_get, ROLE_VIEWER, query_tenant}, NONE, NONE, NONE, NONE}},
    {"/v1/members", {READ(members_list), NONE, NONE, NONE, NONE}},
    {"/v1/edges", {LIST(edges_list), NONE, NONE, NONE, NONE}},
    {"/v1/edges/{}:drain", {NONE, EDIT(edge_drain), NONE, NONE, NONE}},
    {"/v1/edges/{}:undrain", {NONE, EDIT(edge_undrain), NONE, NONE, NONE}},
    {"/v1/edges/{}", {READ(edge_get), NONE, NONE, NONE, NONE}},
    {"/v1/sessions", {{sessions_list, ROLE_VIEWER, query_sessions}, NONE, NONE, NONE, NONE}},
    {"/v1/sessions/{}:disconnect", {NONE, EDIT(session_disconnect), NONE, NONE, NONE}},
    {"/v1/workers", {LIST(workers_list), NONE, NONE, NONE, NONE}},
    {"/v1/workers/{}:drain", {NONE, EDIT(worker_drain), NONE, NONE, NONE}},
    {"/v1/workers/{}:undrain", {NONE, EDIT(worker_undrain), NONE, NONE, NONE}},
    {"/v1/workers/{}", {READ(worker_get), NONE, NONE, NONE, NONE}},
    {NULL, {NONE, NONE, NONE, NONE, NONE}},
};
