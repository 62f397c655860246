/* penstock-modelsim: an OpenAI-compatible model server that needs no model.
 *
 * Its answers are true of their input (a summary made of the input's own sentences), its troubles
 * are turned on by knobs, and it counts what it was asked, so that tests can hold limits against
 * the target's own count. Options are the environment's settings in another spelling: --token-ms 5
 * is PENSTOCK_SIM_TOKEN_MS=5. */
#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/env.h"
#include "common/log.h"
#include "tools/modelsim/sim.h"

#define PREFIX "PENSTOCK_SIM_"

struct config {
	char *addr, *key;
	char *fail_rate, *hang_rate, *cut_rate; /* 0 to 1 */
	int64_t port, seed, first_token_ms, token_ms, rpm, tpm, concurrent;
};

#define NUMBER(NAME, member, dflt, max, help)                                                      \
	{                                                                                          \
		PREFIX NAME, ENV_INT, offsetof(struct config, member), dflt, 0, max, help, false   \
	}
#define TEXT(NAME, member, dflt, help, secret)                                                     \
	{                                                                                          \
		PREFIX NAME, ENV_TEXT, offsetof(struct config, member), dflt, 0, 0, help, secret   \
	}

static const struct env_setting settings[] = {
    TEXT("ADDR", addr, "127.0.0.1", "address to listen on", false),
    NUMBER("CONCURRENT", concurrent, "0", 1000000,
	   "requests at a time a model allows; 0: no limit"),
    TEXT("CUT_RATE", cut_rate, "0", "share of answers cut off after a few tokens, 0 to 1", false),
    TEXT("FAIL_RATE", fail_rate, "0", "share of requests answered with 503, 0 to 1", false),
    NUMBER("FIRST_TOKEN_MS", first_token_ms, "0", 600000, "time before the first token, ms"),
    TEXT("HANG_RATE", hang_rate, "0", "share of requests never answered, 0 to 1", false),
    TEXT("KEY", key, "", "API key that is demanded; empty: none", true),
    NUMBER("PORT", port, "0", 65535, "port to listen on; 0: any, printed at start"),
    NUMBER("RPM", rpm, "0", 1000000000, "requests a minute a model allows; 0: no limit"),
    NUMBER("SEED", seed, "1", INT64_MAX, "seed of the faults' dice"),
    NUMBER("TOKEN_MS", token_ms, "0", 600000, "time between two tokens, ms"),
    NUMBER("TPM", tpm, "0", 1000000000, "tokens a minute a model allows; 0: no limit"),
};
#define N_SETTINGS (sizeof(settings) / sizeof(*settings))

/* --token-ms 5 or --token-ms=5 into the environment; 1: --help was asked for, -1: not an option. */
static int options(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		char name[64];
		const char *eq = strchr(argv[i], '=');
		size_t n = eq ? (size_t)(eq - argv[i]) : strlen(argv[i]);

		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return 1;
		if (strncmp(argv[i], "--", 2) != 0 || n < 3 || n > 40 || (!eq && i + 1 == argc)) {
			fprintf(stderr, "penstock-modelsim: bad option %s, see --help\n", argv[i]);
			return -1;
		}
		snprintf(name, sizeof(name), PREFIX "%.*s", (int)n - 2, argv[i] + 2);
		for (char *c = name; *c; c++)
			*c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
		setenv(name, eq ? eq + 1 : argv[++i], 1);
	}
	return 0;
}

static int read_knobs(const struct config *conf, struct knobs *k, struct error *err)
{
	const struct {
		const char *name, *text;
	} rates[] = {{"fail_rate", conf->fail_rate},
		     {"hang_rate", conf->hang_rate},
		     {"cut_rate", conf->cut_rate}};

	*k = knobs_default;
	k->first_token_ms = (double)conf->first_token_ms;
	k->token_ms = (double)conf->token_ms;
	k->rpm = (double)conf->rpm;
	k->tpm = (double)conf->tpm;
	k->concurrent = (double)conf->concurrent;
	for (size_t i = 0; i < sizeof(rates) / sizeof(*rates); i++) {
		char *end;
		double rate = strtod(rates[i].text, &end);

		if (end == rates[i].text || *end || !(rate >= 0 && rate <= 1))
			return err_set(err, ERR_FATAL, "%s is a number from 0 to 1", rates[i].name);
		if (knobs_set(k, rates[i].name, rate, err) != 0)
			return -1;
	}
	return 0;
}

static void on_signal(int signo, void *arg)
{
	(void)signo;
	loop_stop(arg);
}

static int serve(const struct config *conf, struct error *err)
{
	struct sim sim = {.key = conf->key};
	struct knobs knobs;
	struct rlimit files;
	int rc = -1;

	if (read_knobs(conf, &knobs, err) != 0)
		return -1;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	rng_seed(&sim.rng, (uint64_t)conf->seed);
	models_init(&sim.models, &knobs);
	sim.loop = loop_new(err);
	if (!sim.loop || loop_signal(sim.loop, SIGTERM, on_signal, sim.loop, err) != 0 ||
	    loop_signal(sim.loop, SIGINT, on_signal, sim.loop, err) != 0)
		goto out;
	sim.http = http_open(sim.loop, conf->addr, (int)conf->port, sim_handle, &sim, err);
	if (!sim.http)
		goto out;
	printf("listening on http://%s:%d\n", conf->addr, http_port(sim.http));
	fflush(stdout);
	log_at(LOG_INFO, "listening", LOG_I("port", http_port(sim.http)));
	loop_run(sim.loop);
	rc = 0;
out:
	http_close(sim.http);
	loop_free(sim.loop);
	models_done(&sim.models);
	return rc;
}

int main(int argc, char **argv)
{
	struct config conf = {0};
	struct error err;
	int asked = options(argc, argv);

	if (asked < 0)
		return 2;
	if (asked > 0) {
		env_help(stdout, "penstock-modelsim",
			 "an OpenAI-compatible model simulator (also --port 0, --token-ms 5, …)",
			 settings, N_SETTINGS);
		return 0;
	}
	log_init("modelsim", "modelsim", LOG_INFO);
	if (env_load(PREFIX, settings, N_SETTINGS, &conf, &err) != 0) {
		fprintf(stderr, "penstock-modelsim: %s\n", err.msg);
		return 2;
	}
	if (serve(&conf, &err) != 0) {
		log_at(LOG_ERROR, "cannot serve", LOG_S("error", err.msg));
		env_done(settings, N_SETTINGS, &conf);
		return 1;
	}
	env_done(settings, N_SETTINGS, &conf);
	return 0;
}
