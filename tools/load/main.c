/* penstock-load: makes load and measures what comes of it; prints one JSON object.
 *
 * One loop and many sockets a process; latencies are from the moment of sending to the moment of
 * reading in the same process, so there is one clock. */
#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/ids.h"
#include "common/log.h"
#include "tools/load/load.h"

static const char usage[] =
    "penstock-load MODE [--option value]…: load on an edge, one JSON object on standard output\n\n"
    "  events   publishers and subscribers: throughput, latency, losses\n"
    "  fanout   many subscribers of few channels, a publisher for each channel\n"
    "  tasks    tasks from submission to their end\n"
    "  resume   connections that come back together and read what they missed\n"
    "  roam     events, by clients that go where drained edges send them, and lose nothing\n"
    "  idle     subscribed connections that do nothing, until standard input ends\n\n";

static struct options opt = {
    .type = "chat.message",
    .dialect_name = "penstock",
    .pipeline = "noop",
    .input = "{\"n\":1}",
    .publishers = 4,
    .subscribers = 4,
    .channels = 4,
    .connections = 100,
    .connecting = 64,
    .subscriptions = 1,
    .window = 64,
    .seconds = 10,
    .warmup = 1,
    .size = 64,
    .quiet_s = 10,
    .behind = 20,
    .keys = true,
};
static int64_t keys = 1;

/* Either text or a number with its range. */
static const struct option {
	const char *name;
	const char **text;
	int64_t *number;
	int64_t min, max;
	const char *help;
} table[] = {
    {"url", &opt.url, NULL, 0, 0, "edge; default $PENSTOCK_EDGE_URL"},
    {"edges", &opt.edges, NULL, 0, 0, "roam: the edges, comma separated (--url)"},
    {"token", &opt.token, NULL, 0, 0, "API key; default $PENSTOCK_KEY"},
    {"tokens", &opt.tokens_file, NULL, 0, 0,
     "fanout, idle: file of API keys, one a line, for the channels in turn"},
    {"dialect", &opt.dialect_name, NULL, 0, 0,
     "fanout, idle: penstock, penstock-protobuf, nchan or nats (penstock)"},
    {"watch", &opt.watch, NULL, 0, 0, "fanout, idle: name=pid+pid,…: whose CPU time is reported"},
    {"type", &opt.type, NULL, 0, 0, "event type (chat.message)"},
    {"pipeline", &opt.pipeline, NULL, 0, 0, "of the tasks (noop)"},
    {"input", &opt.input, NULL, 0, 0, "of the tasks, JSON"},
    {"publishers", NULL, &opt.publishers, 0, 100000,
     "connections that publish (4); fanout: one a channel, or 0: the subscribers do"},
    {"subscribers", NULL, &opt.subscribers, 0, 1000000,
     "connections that subscribe to one channel each (4)"},
    {"channels", NULL, &opt.channels, 1, 1000000, "channels (4)"},
    {"connections", NULL, &opt.connections, 1, 1000000, "of tasks, idle and resume (100)"},
    {"connecting", NULL, &opt.connecting, 1, 10000, "connections set up at the same time (64)"},
    {"subscriptions", NULL, &opt.subscriptions, 1, 128, "of each idle connection (1)"},
    {"rate", NULL, &opt.rate, 0, 10000000,
     "messages or tasks a second in all; 0: as fast as the window lets (0)"},
    {"window", NULL, &opt.window, 1, 4096,
     "without an answer, or tasks not ended, of one connection; fanout: not delivered (64)"},
    {"count", NULL, &opt.count, 0, 10000000, "tasks in all; 0: for --seconds (0)"},
    {"seconds", NULL, &opt.seconds, 1, 86400, "how long, s (10)"},
    {"warmup", NULL, &opt.warmup, 0, 3600, "before that, not measured, s (1)"},
    {"size", NULL, &opt.size, 0, 60000,
     "padding in each message; fanout: all of its data; bytes (64; fanout 128)"},
    {"quiet", NULL, &opt.quiet_s, 1, 3600, "without progress for so long it gives up, s (10)"},
    {"behind", NULL, &opt.behind, 1, 1000, "events that each connection of resume missed (20)"},
    {"keys", NULL, &keys, 0, 1, "publish with idempotency keys (1)"},
};
#define N_OPTIONS (sizeof(table) / sizeof(*table))

static void help(void)
{
	fputs(usage, stdout);
	for (size_t i = 0; i < N_OPTIONS; i++)
		printf("  --%-14s %s\n", table[i].name, table[i].help);
}

static int set_option(const char *name, const char *value)
{
	for (size_t i = 0; i < N_OPTIONS; i++) {
		char *end;

		if (strcmp(table[i].name, name) != 0)
			continue;
		if (table[i].text) {
			*table[i].text = value;
			return 0;
		}
		*table[i].number = strtoll(value, &end, 10);
		if (end != value && !*end && *table[i].number >= table[i].min &&
		    *table[i].number <= table[i].max)
			return 0;
		fprintf(stderr, "penstock-load: --%s is a number from %lld to %lld\n", name,
			(long long)table[i].min, (long long)table[i].max);
		return -1;
	}
	fprintf(stderr, "penstock-load: unknown option --%s, see --help\n", name);
	return -1;
}

/* The file's lines, or the one token; kept to the end of the process. */
static int read_tokens(void)
{
	FILE *f = opt.tokens_file ? fopen(opt.tokens_file, "re") : NULL;
	const char **list = NULL;
	char *line = NULL;
	size_t cap = 0;

	if (opt.tokens_file && !f) {
		fprintf(stderr, "penstock-load: %s: %m\n", opt.tokens_file);
		return -1;
	}
	while (f && getline(&line, &cap, f) > 0) {
		line[strcspn(line, "\n")] = '\0';
		list = xrealloc(list, (opt.n_tokens + 1) * sizeof(*list));
		list[opt.n_tokens++] = xstrdup(line);
	}
	free(line);
	if (f)
		fclose(f);
	opt.tokens = list ? list : &opt.token;
	if (!list)
		opt.n_tokens = opt.token ? 1 : 0;
	return 0;
}

static int read_options(int argc, char **argv)
{
	opt.url = getenv("PENSTOCK_EDGE_URL");
	opt.token = getenv("PENSTOCK_KEY");
	if (strcmp(argv[1], "roam") == 0) {
		opt.publishers = opt.channels = 10;
		opt.subscribers = opt.rate = 100;
	}
	if (strcmp(argv[1], "fanout") == 0) {
		opt.publishers = opt.channels = 1;
		opt.subscribers = 1000;
		opt.rate = 100;
		opt.size = 128;
	}
	for (int i = 2; i < argc; i += 2) {
		if (strncmp(argv[i], "--", 2) != 0 || i + 1 == argc) {
			fprintf(stderr, "penstock-load: %s: an option and its value are expected\n",
				argv[i]);
			return -1;
		}
		if (set_option(argv[i] + 2, argv[i + 1]) != 0)
			return -1;
	}
	opt.keys = keys == 1;
	opt.dialect = dialect_named(opt.dialect_name);
	if (!opt.dialect) {
		fprintf(stderr, "penstock-load: no such dialect %s\n", opt.dialect_name);
		return -1;
	}
	if (read_tokens() != 0)
		return -1;
	if (!opt.url || !opt.n_tokens) {
		fprintf(stderr, "penstock-load: --url and --token (or PENSTOCK_EDGE_URL and "
				"PENSTOCK_KEY) are needed\n");
		return -1;
	}
	return 0;
}

static void on_signal(int signo, void *arg)
{
	(void)signo;
	loop_stop(arg);
}

static int run(const char *mode, struct load *load, struct error *err)
{
	struct rng rng;

	rng_seed_os(&rng);
	snprintf(load->run, sizeof(load->run), "%016llx", (unsigned long long)rng_next(&rng));
	load->loop = loop_new(err);
	if (!load->loop || loop_signal(load->loop, SIGINT, on_signal, load->loop, err) != 0 ||
	    loop_signal(load->loop, SIGTERM, on_signal, load->loop, err) != 0)
		return -1;
	if (strcmp(mode, "tasks") == 0)
		return tasks_run(load, err);
	if (strcmp(mode, "idle") == 0)
		return idle_run(load, err);
	if (strcmp(mode, "resume") == 0)
		return resume_run(load, err);
	if (strcmp(mode, "roam") == 0)
		return roam_run(load, err);
	if (strcmp(mode, "fanout") == 0)
		return fanout_run(load, err);
	return events_run(load, err);
}

int main(int argc, char **argv)
{
	struct load load = {.opt = &opt};
	struct rlimit files;
	struct error err;
	int rc;

	if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		help();
		return argc < 2 ? 2 : 0;
	}
	if (strcmp(argv[1], "events") && strcmp(argv[1], "fanout") && strcmp(argv[1], "tasks") &&
	    strcmp(argv[1], "idle") && strcmp(argv[1], "resume") && strcmp(argv[1], "roam")) {
		fprintf(stderr, "penstock-load: no such mode %s, see --help\n", argv[1]);
		return 2;
	}
	if (read_options(argc, argv) != 0)
		return 2;
	log_init("load", "load", LOG_WARN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	rc = run(argv[1], &load, &err);
	if (rc != 0)
		fprintf(stderr, "penstock-load: %s\n", err.msg);
	else
		printf("%s\n", load.report.data);
	strbuf_done(&load.report);
	loop_free(load.loop);
	return rc != 0 ? 2 : load.failed ? 1 : 0;
}
