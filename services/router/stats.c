#include "services/router/stats.h"

#include <stdio.h>
#include <string.h>

static const char *const kinds[ROUTER_KINDS] = {"publish", "task",   "cancel", "release",
						"redrive", "replay", "unknown"};
static const char *const results[ROUTER_RESULTS] = {
    "accepted",     "duplicate",    "ephemeral",  "bad_request", "forbidden", "too_large",
    "unknown_type", "rate_limited", "overloaded", "unavailable", "conflict",  "not_found"};

static void commands_init(struct router_stats *s, struct metrics *m)
{
	char labels[96];
	for (int k = 0; k < ROUTER_KINDS; k++)
		for (int r = 0; r < ROUTER_RESULTS; r++) {
			snprintf(labels, sizeof(labels), "kind=\"%s\",result=\"%s\"", kinds[k],
				 results[r]);
			s->commands[k][r] = metrics_counter(
			    m, "penstock_router_commands_total", labels,
			    "Commands by what they asked for and how they were answered");
		}
}

static void limited_init(struct router_stats *s, struct metrics *m)
{
	static const char *const limits[4] = {"tasks_queued", "events_per_s", "bytes_per_s",
					      "tokens_per_min"};
	static const char *const modes[2] = {"enforce", "shadow"};
	char labels[96];
	for (int l = 0; l < 4; l++)
		for (int mode = 0; mode < 2; mode++) {
			snprintf(labels, sizeof(labels), "limit=\"%s\",mode=\"%s\"", limits[l],
				 modes[mode]);
			s->limited[l][mode] = metrics_counter(
			    m, "penstock_router_limited_total", labels,
			    "Commands over a tenant's limit; in shadow mode they passed");
		}
}

static void pools_init(struct router_stats *s, struct metrics *m)
{
	static const char *const pools[2] = {"pool=\"default\"", "pool=\"batch\""};
	for (int p = 0; p < 2; p++) {
		s->window[p] = metrics_gauge(
		    m, "penstock_router_window_tasks", pools[p],
		    "Tasks in the ready queue or running, of the tenants of owned partitions");
		s->window_tokens[p] =
		    metrics_gauge(m, "penstock_router_window_tokens", pools[p],
				  "Tokens that these are estimated to need of their models");
		s->backlog[p] =
		    metrics_gauge(m, "penstock_router_backlog_tasks", pools[p],
				  "Tasks in the tenants' backlogs, of owned partitions");
		s->slots[p] =
		    metrics_gauge(m, "penstock_router_worker_slots", pools[p],
				  "Slots of the live workers, as the windows are sized by");
	}
}

void router_stats_init(struct router_stats *s, struct metrics *m)
{
	commands_init(s, m);
	limited_init(s, m);
	for (int granted = 0; granted < 2; granted++)
		s->leases[granted] =
		    metrics_counter(m, "penstock_router_leases_total",
				    granted ? "result=\"granted\"" : "result=\"refused\"",
				    "Edges' questions for a share of a tenant's limits");
	s->leased_events = metrics_counter(m, "penstock_router_leased_events_total", NULL,
					   "Events that edges may let pass by themselves");
	s->malformed =
	    metrics_counter(m, "penstock_router_malformed_total", NULL,
			    "Messages on the router's subjects that could not be decoded");
	s->recent_hits = metrics_counter(m, "penstock_router_recent_hits_total", NULL,
					 "Repeats answered without asking the broker");
	s->moves = metrics_counter(m, "penstock_router_backlog_moved_total", NULL,
				   "Tickets moved from BACKLOG to TASKS");
	s->bad_tickets =
	    metrics_counter(m, "penstock_router_bad_tickets_total", NULL,
			    "Tickets in BACKLOG that could not be read and were dropped");
	s->strays =
	    metrics_counter(m, "penstock_router_stray_tickets_total", NULL,
			    "Tickets moved from a subject of BACKLOG that was not their tenant's");
	s->ticket_retries =
	    metrics_counter(m, "penstock_router_ticket_retries_total", NULL,
			    "Tickets sent again after their task was already in the log");
	s->inflight =
	    metrics_gauge(m, "penstock_router_inflight", NULL, "Commands that wait for the broker");
	s->inflight_bytes = metrics_gauge(m, "penstock_router_inflight_bytes", NULL,
					  "Bytes that tasks in flight hold");
	s->parts = metrics_gauge(m, "penstock_router_parts", NULL, "Partitions owned");
	s->tenants = metrics_gauge(m, "penstock_router_tenants", NULL,
				   "Tenants with limits or windows in memory");
	pools_init(s, m);
	s->recents = metrics_gauge(m, "penstock_router_recent_entries", NULL,
				   "Idempotency keys that are remembered");
	s->publish = metrics_histogram(
	    m, "penstock_router_publish_seconds", NULL,
	    "From a durable command's arrival to the acknowledgement of its event");
	s->task = metrics_histogram(
	    m, "penstock_router_task_seconds", NULL,
	    "From a task's arrival to the acknowledgements of its ticket and event");
}

void router_stats_command(struct router_stats *s, enum router_kind kind, const char *result)
{
	for (int r = 0; r < ROUTER_RESULTS; r++)
		if (strcmp(results[r], result) == 0) {
			metric_add(s->commands[kind][r], 1);
			return;
		}
}
