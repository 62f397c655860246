#include "services/orchestrator-worker/stats.h"

#include <stdio.h>

static void make_tasks(struct worker_stats *s, struct metrics *m)
{
	static const char *const results[] = {
	    "completed", "failed", "ended_elsewhere", "expired", "repeat", "handed_back", "parked"};
	static const char *const calls[] = {"ok",       "connect",      "timeout", "first_token",
					    "rejected", "rate_limited", "error",   "cut"};
	static const char *const stages[] = {"ok", "retry", "failed", "throttled", "held"};
	char labels[64];
	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
		snprintf(labels, sizeof(labels), "result=\"%s\"", results[i]);
		s->tasks[i] = metrics_counter(m, "penstock_worker_tasks_total", labels,
					      "Tickets that this worker was done with");
	}
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		snprintf(labels, sizeof(labels), "result=\"%s\"", calls[i]);
		s->calls[i] = metrics_counter(m, "penstock_worker_calls_total", labels,
					      "Calls of models and other targets");
	}
	for (size_t k = 0; k < STAGE_KINDS; k++) {
		for (size_t i = 0; i < OUTCOME_CLASSES; i++) {
			snprintf(labels, sizeof(labels), "kind=\"%s\",result=\"%s\"",
				 stage_kind_name((enum stage_kind)k), stages[i]);
			s->stages[k][i] = metrics_counter(m, "penstock_worker_stages_total", labels,
							  "Attempts of stages that ended");
		}
	}
}

static void make_calls(struct worker_stats *s, struct metrics *m)
{
	s->calls_running = metrics_gauge(m, "penstock_worker_calls_running", NULL,
					 "Calls under way, each with a permit");
	s->permits_waiting = metrics_gauge(m, "penstock_worker_permits_waiting", NULL,
					   "Calls that wait for a permit");
	static const char *const held[] = {"overloaded", "target_down", "retry_budget",
					   "model_changed"};
	char labels[64];
	for (size_t i = 0; i < sizeof(held) / sizeof(held[0]); i++) {
		snprintf(labels, sizeof(labels), "reason=\"%s\"", held[i]);
		s->calls_held[i] = metrics_counter(m, "penstock_worker_calls_held_total", labels,
						   "Calls that were put off before they began");
	}
	s->calls_again = metrics_counter(m, "penstock_worker_calls_again_total", NULL,
					 "Calls that were retries, each out of a retry budget");
	s->fallbacks = metrics_counter(m, "penstock_worker_fallbacks_total", NULL,
				       "Calls that went to a fallback because the breaker of the "
				       "stage's own model was open");
	s->breakers_open = metrics_gauge(m, "penstock_worker_breakers_open", NULL,
					 "Targets that are not called because calls failed");
	s->breakers_opened = metrics_counter(m, "penstock_worker_breakers_opened_total", NULL,
					     "Times that a breaker opened");
	s->permit_wait = metrics_histogram(m, "penstock_worker_permit_wait_seconds", NULL,
					   "Time that a call waited for its permit");
	s->lease_reports = metrics_counter(m, "penstock_worker_lease_reports_total", NULL,
					   "Reports to the grantor of leases");
	s->lease_unanswered = metrics_counter(m, "penstock_worker_lease_unanswered_total", NULL,
					      "Reports that nobody answered in time");
	s->lease_silent = metrics_gauge(m, "penstock_worker_lease_silent", NULL,
					"1: nobody grants leases, the safe capacity is in force");
	s->latency = metrics_histogram(m, "penstock_worker_call_seconds", NULL,
				       "From a call's start to its end, successful ones");
	s->first_token = metrics_histogram(m, "penstock_worker_first_token_seconds", NULL,
					   "From a chat's start to the first piece of its answer");
	s->tokens_prompt = metrics_counter(m, "penstock_worker_tokens_total", "kind=\"prompt\"",
					   "Tokens that models reported");
	s->tokens_completion =
	    metrics_counter(m, "penstock_worker_tokens_total", "kind=\"completion\"", "");
}

static void make_jq(struct worker_stats *s, struct metrics *m)
{
	s->jq_time = metrics_histogram(m, "penstock_worker_jq_seconds", NULL,
				       "Time that a jq program ran, its compilation included");
	s->jq_failed = metrics_counter(m, "penstock_worker_jq_failed_total", NULL,
				       "jq programs that gave no result");
	s->jq_queued = metrics_gauge(m, "penstock_worker_jq_queued", NULL,
				     "jq runs that are not answered yet");
	s->jq_killed = metrics_counter(m, "penstock_worker_jq_killed_total", NULL,
				       "jq helpers that were killed or died");
	s->jq_refused = metrics_counter(m, "penstock_worker_jq_refused_total", NULL,
					"jq runs that were refused because too many wait");
}

void worker_stats_init(struct worker_stats *s, struct metrics *m)
{
	make_tasks(s, m);
	make_calls(s, m);
	make_jq(s, m);
	s->transitions = metrics_counter(m, "penstock_worker_transitions_total", NULL,
					 "Transitions that are in the log");
	s->writes_repeated = metrics_counter(m, "penstock_worker_writes_repeated_total", NULL,
					     "Writes whose outcome was unknown");
	s->fenced = metrics_counter(m, "penstock_worker_writes_fenced_total", NULL,
				    "Writes that the log refused because the channel had moved");
	s->retries = metrics_counter(m, "penstock_worker_retries_total", NULL,
				     "Attempts of stages beyond the first");
	s->slots = metrics_gauge(m, "penstock_worker_slots", NULL, "Tasks that may run at once");
	s->slots_used = metrics_gauge(m, "penstock_worker_slots_used", NULL, "Tasks that run");
	s->tickets_waiting = metrics_gauge(m, "penstock_worker_tickets_waiting", NULL,
					   "Tickets that are held and wait for a slot");
	s->deltas = metrics_counter(m, "penstock_worker_deltas_total", NULL,
				    "Pieces of streamed output sent");
	s->deltas_lost = metrics_counter(m, "penstock_worker_deltas_lost_total", NULL,
					 "Pieces of streamed output given up");
	s->deltas_held = metrics_counter(m, "penstock_worker_deltas_held_total", NULL,
					 "Times that text waited because too much was in flight");
	s->deltas_in_flight = metrics_gauge(m, "penstock_worker_deltas_in_flight", NULL,
					    "Pieces of streamed output not acknowledged yet");
	s->write_time = metrics_histogram(m, "penstock_worker_write_seconds", NULL,
					  "From a transition's sending to its acknowledgement");
	s->task_time = metrics_histogram(m, "penstock_worker_task_seconds", NULL,
					 "From a task's admission to its completion");
}
