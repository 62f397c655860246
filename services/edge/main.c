#include <signal.h>
#include <stdio.h>

#include "common/bus_nats.h"
#include "common/log.h"
#include "services/edge/edge.h"

static struct bus *open_nats(struct loop *loop, const struct edge_conf *conf,
			     struct metrics *metrics, struct error *err)
{
	/* What takes the direct road is delivered here before it goes out (direct.h). */
	const struct bus_nats_conf nats = {.url = conf->common.nats_url,
					   .name = conf->common.instance,
					   .metrics = metrics,
					   .no_echo = true};

	return bus_nats_open(loop, &nats, err);
}

static void on_signal(int signo, void *arg)
{
	log_at(LOG_INFO, "stopping", LOG_I("signal", signo));
	edge_stop(arg);
}

/* Before any thread starts, so that all of them leave these signals to the hub's loop. */
static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
	struct edge_conf conf = {0};
	struct error err = {0};
	struct edge *edge;
	int rc = env_main(argc, argv, "edge", "sockets, authentication, framing: the clients' door",
			  "PENSTOCK_EDGE_", edge_settings, edge_n_settings, &conf, &conf.common);

	if (rc)
		return rc < 0 ? CANNOT_START : 0;
	block_signals();
	edge = edge_open(&conf, open_nats, &err);
	if (!edge || loop_signal(edge_loop(edge), SIGTERM, on_signal, edge, &err) ||
	    loop_signal(edge_loop(edge), SIGINT, on_signal, edge, &err)) {
		log_at(LOG_ERROR, "cannot start", LOG_S("error", err.msg));
		edge_free(edge);
		env_done(edge_settings, edge_n_settings, &conf);
		return CANNOT_START;
	}
	edge_run(edge);
	edge_free(edge);
	bus_nats_shutdown();
	log_at(LOG_INFO, "stopped");
	env_done(edge_settings, edge_n_settings, &conf);
	return 0;
}
