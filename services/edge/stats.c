#include "services/edge/stats.h"

#include <stdio.h>

static const unsigned codes[CLOSED_OTHER] = {1000, 1002, 1003, 1007, 1009, 4001, 4002, 4003, 4004,
					     4100, 4101, 4102, 4103, 4200, 4201, 4300, 4301};

static void by_label(struct stats *s, struct metrics *m)
{
	static const char *const sides[DEFLATE_N] = {
	    "direction=\"out\",form=\"plain\"", "direction=\"out\",form=\"deflated\"",
	    "direction=\"in\",form=\"plain\"", "direction=\"in\",form=\"deflated\""};
	static const char *const drops[DROP_N] = {"reason=\"slow_socket\"", "reason=\"mailbox\"",
						  "reason=\"held\""};
	static const char *const kinds[COMMAND_N] = {"command=\"publish\"", "command=\"task\"",
						     "command=\"cancel\""};
	char label[48];

	for (int i = 0; i < DEFLATE_N; i++)
		s->deflate[i] =
		    metrics_counter(m, "penstock_edge_deflate_bytes_total", sides[i],
				    "bytes of compressed messages, before and after; what goes out "
				    "is counted once for all who get it");
	for (int i = 0; i < DROP_N; i++)
		s->dropped[i] = metrics_counter(m, "penstock_edge_dropped_total", drops[i],
						"frames that were not delivered live");
	s->slow_closed[SLOW_FULL] =
	    metrics_counter(m, "penstock_edge_slow_closed_total", "reason=\"full\"",
			    "sockets that were closed because they were too slow");
	s->slow_closed[SLOW_IDLE] =
	    metrics_counter(m, "penstock_edge_slow_closed_total", "reason=\"no_progress\"",
			    "sockets that were closed because they were too slow");
	for (int i = 0; i < CLOSED_N; i++) {
		if (i == CLOSED_OTHER)
			snprintf(label, sizeof(label), "code=\"other\"");
		else
			snprintf(label, sizeof(label), "code=\"%u\"", codes[i]);
		s->closed[i] = metrics_counter(m, "penstock_edge_closed_total", label,
					       "connections that ended, by close code");
	}
	for (int i = 0; i < COMMAND_N; i++)
		s->command_time[i] =
		    metrics_histogram(m, "penstock_edge_command_seconds", kinds[i],
				      "from the client's command to the answer of the plane");
	for (int i = 0; i < 2 * CAME_N; i++) {
		static const char *const results[CAME_N] = {"ok", "limited", "refused"};

		snprintf(label, sizeof(label), "kind=\"%s\",result=\"%s\"",
			 i < CAME_N ? "fresh" : "resumed", results[i % CAME_N]);
		s->came_in[i / CAME_N][i % CAME_N] =
		    metrics_counter(m, "penstock_edge_sessions_total", label,
				    "sockets that asked to be let in, by what they showed");
	}
	for (int i = 1; i < 6; i++) {
		snprintf(label, sizeof(label), "status=\"%dxx\"", i);
		s->http[i] = metrics_counter(m, "penstock_edge_http_responses_total", label,
					     "HTTP responses, by class of status");
	}
	s->http[0] = s->http[5];
}

static void usage_init_stats(struct usage_stats *s, struct metrics *m)
{
	static const char *const labels[USAGE_N][2] = {
	    {"limit=\"connections\",mode=\"enforce\"", "limit=\"connections\",mode=\"shadow\""},
	    {"limit=\"subscriptions\",mode=\"enforce\"",
	     "limit=\"subscriptions\",mode=\"shadow\""}};

	for (int k = 0; k < USAGE_N; k++)
		for (int shadow = 0; shadow < 2; shadow++)
			s->refused[k][shadow] =
			    metrics_counter(m, "penstock_edge_limited_total", labels[k][shadow],
					    "what exceeded a limit of its tenant");
	s->tenants = metrics_gauge(m, "penstock_edge_tenants", NULL,
				   "tenants with connections, here or on other edges");
	s->ignored = metrics_counter(m, "penstock_edge_usage_ignored_total", NULL,
				     "reports of other edges' tenants beyond the bound");
}

void stats_init(struct stats *s, struct metrics *m)
{
	usage_init_stats(&s->usage, m);
	s->turned_away = metrics_counter(m, "penstock_edge_turned_away_total", NULL,
					 "Connections refused to keep the last descriptors");
	s->accept_failures = metrics_counter(m, "penstock_edge_accept_failures_total", NULL,
					     "Times that no connection could be accepted");
	s->cut_off = metrics_counter(m, "penstock_edge_http_cut_off_total", NULL,
				     "HTTP connections whose request did not come in time");
	s->connections = metrics_gauge(m, "penstock_edge_connections", NULL,
				       "open WebSocket connections and streams");
	s->streams = metrics_gauge(m, "penstock_edge_streams", NULL,
				   "of these, streams of server-sent events");
	s->opened = metrics_counter(m, "penstock_edge_connections_total", NULL,
				    "WebSocket connections and streams that were accepted");
	s->subscriptions = metrics_gauge(m, "penstock_edge_subscriptions", NULL, "subscriptions");
	s->topics = metrics_gauge(m, "penstock_edge_topics", NULL,
				  "channels with local subscribers, summed over reactors");
	s->channels =
	    metrics_gauge(m, "penstock_edge_channels", NULL, "channels subscribed on the bus");
	s->frames_in = metrics_counter(m, "penstock_edge_messages_received_total", NULL,
				       "messages from clients");
	s->frames_out = metrics_counter(m, "penstock_edge_frames_sent_total", NULL,
					"frames that sockets took, control frames included");
	s->bytes_in =
	    metrics_counter(m, "penstock_edge_received_bytes_total", NULL, "bytes from sockets");
	s->bytes_out =
	    metrics_counter(m, "penstock_edge_sent_bytes_total", NULL, "bytes to sockets");
	s->writes = metrics_counter(m, "penstock_edge_writes_total", NULL, "writes to sockets");
	s->batches = metrics_counter(m, "penstock_edge_write_batches_total", NULL,
				     "system calls that wrote to several sockets");
	s->events_in = metrics_counter(m, "penstock_edge_live_messages_total", NULL,
				       "events and deltas from the bus");
	s->deliveries = metrics_counter(m, "penstock_edge_deliveries_total", NULL,
					"events and deltas queued for a connection");
	s->lent = metrics_counter(m, "penstock_edge_lent_total", NULL,
				  "events delivered by another reactor than the sockets'");
	s->repairs = metrics_counter(m, "penstock_edge_repairs_total", NULL,
				     "missed live deliveries that were read from the log");
	s->fetches =
	    metrics_counter(m, "penstock_edge_history_pages_total", NULL, "pages of history read");
	s->fetch_failed = metrics_counter(m, "penstock_edge_history_failures_total", NULL,
					  "pages of history that could not be read");
	s->paused = metrics_counter(m, "penstock_edge_paused_total", NULL,
				    "times a connection was read later because it sent too fast");
	s->malformed = metrics_counter(m, "penstock_edge_malformed_total", NULL,
				       "messages from the bus that could not be read");
	s->commands = metrics_gauge(m, "penstock_edge_commands_in_flight", NULL,
				    "commands without an answer");
	s->refused_commands = metrics_counter(m, "penstock_edge_commands_refused_total", NULL,
					      "commands refused because too many were in flight");
	s->draining = metrics_gauge(m, "penstock_edge_draining", NULL,
				    "1 while this edge is out of the ring");
	s->drain_frames = metrics_counter(m, "penstock_edge_drain_frames_total", NULL,
					  "connections that were told to go to another edge");
	s->gaps = metrics_counter(m, "penstock_edge_gaps_total", NULL,
				  "holes in channels that could not be repaired and were told");
	s->delta_pages = metrics_counter(m, "penstock_edge_delta_pages_total", NULL,
					 "pages of deltas read for who came late to a task");
	s->delta_failed = metrics_counter(m, "penstock_edge_delta_failures_total", NULL,
					  "times that was given up: the broker could not be read");
	s->replay_waiting = metrics_gauge(m, "penstock_edge_replay_waiting", NULL,
					  "pages of logs that wait for their turn");
	s->replay_under_way = metrics_gauge(m, "penstock_edge_replay_under_way", NULL,
					    "pages of logs that are being read");
	s->replay_refused = metrics_counter(m, "penstock_edge_replay_refused_total", NULL,
					    "pages refused because too many waited");
	s->replay_wait = metrics_histogram(m, "penstock_edge_replay_wait_seconds", NULL,
					   "how long a page waited for its turn");
	s->out_bytes = metrics_gauge(m, "penstock_edge_out_bytes", NULL,
				     "bytes of frames that wait for their sockets");
	s->spills = metrics_counter(m, "penstock_edge_spills_total", NULL,
				    "times a subscription of a slow socket went over to the log");
	s->spilled = metrics_counter(m, "penstock_edge_spilled_events_total", NULL,
				     "durable events that were left for reading from the log");
	s->receipts = metrics_counter(m, "penstock_edge_receipts_total", NULL,
				      "states of subscriptions reported for the audit");
	s->receipts_dropped =
	    metrics_counter(m, "penstock_edge_receipts_dropped_total", NULL,
			    "such reports that were dropped because the bus was away for long");
	s->direct = metrics_counter(m, "penstock_edge_direct_total", NULL,
				    "ephemeral events that took the direct road past the router");
	s->signatures = metrics_gauge(m, "penstock_edge_signatures_waiting", NULL,
				      "requests whose token's signature is still to be checked");
	by_label(s, m);
}

void stats_closed(struct stats *s, unsigned code)
{
	int i = 0;

	while (i < CLOSED_OTHER && codes[i] != code)
		i++;
	metric_add(s->closed[i], 1);
}
