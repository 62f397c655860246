#include "services/edge/stats.h"

#include <stdio.h>

static const unsigned codes[CLOSED_OTHER] = {1000, 1002, 1003, 1007, 1009, 4001, 4002,
					     4003, 4100, 4102, 4103, 4200, 4300};

static void by_label(struct stats *s, struct metrics *m)
{
	static const char *const drops[DROP_N] = {"reason=\"slow_socket\"", "reason=\"mailbox\"",
						  "reason=\"held\""};
	static const char *const kinds[COMMAND_N] = {"command=\"publish\"", "command=\"task\"",
						     "command=\"cancel\""};
	char label[32];

	for (int i = 0; i < DROP_N; i++)
		s->dropped[i] = metrics_counter(m, "penstock_edge_dropped_total", drops[i],
						"frames that were not delivered live");
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
	for (int i = 1; i < 6; i++) {
		snprintf(label, sizeof(label), "status=\"%dxx\"", i);
		s->http[i] = metrics_counter(m, "penstock_edge_http_responses_total", label,
					     "HTTP responses, by class of status");
	}
	s->http[0] = s->http[5];
}

void stats_init(struct stats *s, struct metrics *m)
{
	s->connections =
	    metrics_gauge(m, "penstock_edge_connections", NULL, "open WebSocket connections");
	s->opened = metrics_counter(m, "penstock_edge_connections_total", NULL,
				    "WebSocket connections that were accepted");
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
	s->writes =
	    metrics_counter(m, "penstock_edge_writes_total", NULL, "write calls on sockets");
	s->events_in = metrics_counter(m, "penstock_edge_live_messages_total", NULL,
				       "events and deltas from the bus");
	s->deliveries = metrics_counter(m, "penstock_edge_deliveries_total", NULL,
					"events and deltas queued for a connection");
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
	by_label(s, m);
}

void stats_closed(struct stats *s, unsigned code)
{
	int i = 0;

	while (i < CLOSED_OTHER && codes[i] != code)
		i++;
	metric_add(s->closed[i], 1);
}
