/* Which path and method is whose. */
#include "services/control-plane/resources.h"

static const char *const query_events[] = {"tenant",    "channel",    "after", "limit",
					   "page_size", "page_token", NULL};
static const char *const query_tenant[] = {"tenant", NULL};

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
    {"/v1/tasks/{}", {{task_get, ROLE_VIEWER, query_tenant}, NONE, NONE, NONE, NONE}},
    {"/v1/members", {READ(members_list), NONE, NONE, NONE, NONE}},
    {"/v1/edges", {READ(edges_list), NONE, NONE, NONE, NONE}},
    {"/v1/workers", {READ(workers_list), NONE, NONE, NONE, NONE}},
    {NULL, {NONE, NONE, NONE, NONE, NONE}},
};
