/* The handlers of api_routes, one file for each kind of thing. Threads: as api_handle(). */
#ifndef PENSTOCK_CONTROL_RESOURCES_H
#define PENSTOCK_CONTROL_RESOURCES_H

#include "services/control-plane/api.h"

void tenants_list(struct call *call);
void tenants_post(struct call *call);
void tenant_get(struct call *call);
void tenant_put(struct call *call);
void tenant_patch(struct call *call);
void tenant_delete(struct call *call);
void tenant_suspend(struct call *call);
void tenant_resume(struct call *call);

void limits_get(struct call *call);
void limits_put(struct call *call);
void limits_patch(struct call *call);

void keys_list(struct call *call);
void keys_post(struct call *call);
void key_get(struct call *call);
void key_delete(struct call *call);

void hooks_list(struct call *call);
void hooks_post(struct call *call);
void hook_get(struct call *call);
void hook_put(struct call *call);
void hook_patch(struct call *call);
void hook_delete(struct call *call);
void hook_status(struct call *call);
void hook_enable(struct call *call);
void hook_disable(struct call *call);
void hook_rotate(struct call *call);
void schedules_list(struct call *call);
void schedule_get(struct call *call);
void schedule_put(struct call *call);
void schedule_delete(struct call *call);
void triggers_list(struct call *call);
void trigger_get(struct call *call);
void trigger_put(struct call *call);
void trigger_delete(struct call *call);

void signing_list(struct call *call);
void signing_post(struct call *call);
void signing_get(struct call *call);
void signing_delete(struct call *call);

void types_list(struct call *call);
void versions_list(struct call *call);
void versions_post(struct call *call);
void version_get(struct call *call);
void version_put(struct call *call);
void version_patch(struct call *call);
void version_delete(struct call *call);

void models_list(struct call *call);
void models_post(struct call *call);
void model_get(struct call *call);
void model_put(struct call *call);
void model_patch(struct call *call);
void model_delete(struct call *call);

void pipelines_list(struct call *call);
void pipeline_versions_list(struct call *call);
void pipeline_versions_post(struct call *call);
void pipeline_get(struct call *call);
void pipeline_put(struct call *call);
void pipeline_delete(struct call *call);

void operators_list(struct call *call);
void operators_post(struct call *call);
void operator_get(struct call *call);
void operator_delete(struct call *call);

void audit_list(struct call *call);

void events_list(struct call *call);
void event_timeline(struct call *call);
void event_deliveries(struct call *call);
void task_get(struct call *call);

void tasks_list(struct call *call);
void dead_letters_list(struct call *call);
void usage_list(struct call *call);

void task_cancel(struct call *call);
void task_redrive(struct call *call);
void dead_letters_redrive(struct call *call);
void operation_get(struct call *call);
void operation_cancel(struct call *call);

void replays_list(struct call *call);
void replays_post(struct call *call);
void replay_get(struct call *call);
void replay_pause(struct call *call);
void replay_resume(struct call *call);
void replay_cancel(struct call *call);

void sessions_list(struct call *call);
void session_disconnect(struct call *call);

void members_list(struct call *call);

void edges_list(struct call *call);
void edge_get(struct call *call);
void edge_drain(struct call *call);
void edge_undrain(struct call *call);

void workers_list(struct call *call);
void worker_get(struct call *call);
void worker_drain(struct call *call);
void worker_undrain(struct call *call);

#endif
