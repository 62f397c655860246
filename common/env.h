/* Configuration from the environment, and nothing else: one table of settings per binary.
 *
 * An unknown variable that starts with the service's prefix, a value that does not parse and one
 * out of its range are errors that name the variable. --help prints the table. Threads: main, at
 * start. */
#ifndef PENSTOCK_ENV_H
#define PENSTOCK_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/err.h"

enum env_type {
	ENV_TEXT, /* char *, the config's, freed by env_done; default NULL means: required */
	ENV_INT,  /* int64_t, within [min, max] */
	ENV_BOOL, /* bool: true/false, 1/0, yes/no, on/off */
};

struct env_setting {
	const char *name; /* the whole variable name */
	enum env_type type;
	size_t offset; /* of the member in the config struct */
	const char *dflt;
	int64_t min, max;
	const char *help; /* with its unit */
	bool secret;      /* its value is never printed */
};

/* prefix, e.g. "PENSTOCK_EDGE_"; table sorted as it shall be printed; n entries. On failure nothing
 * is kept. */
int env_load(const char *prefix, const struct env_setting *table, size_t n, void *config,
	     struct error *err) MUST_CHECK;
void env_done(const struct env_setting *table, size_t n, void *config);
void env_help(FILE *out, const char *program, const char *purpose, const struct env_setting *table,
	      size_t n);

/* What all services share; put COMMON_SETTINGS(struct config, common) into the table. */
struct env_common {
	char *nats_url;     /* PENSTOCK_NATS_URL, nats://127.0.0.1:4222 */
	char *instance;     /* PENSTOCK_INSTANCE: this process's name; default <hostname>-<pid> */
	char *log_level;    /* PENSTOCK_LOG_LEVEL, info */
	char *admin_addr;   /* PENSTOCK_ADMIN_ADDR, 127.0.0.1 */
	int64_t admin_port; /* PENSTOCK_ADMIN_PORT, 0: any */
	int64_t parts;      /* PENSTOCK_PARTS, 16 */
	int64_t replicas;   /* PENSTOCK_STREAM_REPLICAS, 1 */
	int64_t dedupe_ms;  /* PENSTOCK_STREAM_DEDUPE_MS, ten minutes */
};

/* clang-format off */
#define COMMON_SETTINGS(conf, m)                                                                    \
	{"PENSTOCK_NATS_URL", ENV_TEXT, offsetof(conf, m.nats_url), "nats://127.0.0.1:4222", 0, 0,     \
	    "NATS servers, comma separated", false},                                                   \
	    {"PENSTOCK_INSTANCE", ENV_TEXT, offsetof(conf, m.instance), "", 0, 0,                      \
	        "name of this process; empty: <host>-<pid>", false},                                   \
	    {"PENSTOCK_LOG_LEVEL", ENV_TEXT, offsetof(conf, m.log_level), "info", 0, 0,                \
	        "debug, info, warn or error", false},                                                  \
	    {"PENSTOCK_ADMIN_ADDR", ENV_TEXT, offsetof(conf, m.admin_addr), "127.0.0.1", 0, 0,         \
	        "address of the admin port", false},                                                   \
	    {"PENSTOCK_ADMIN_PORT", ENV_INT, offsetof(conf, m.admin_port), "0", 0, 65535,              \
	        "port of /livez, /readyz, /metrics; 0: any, logged at start", false},                  \
	    {"PENSTOCK_PARTS", ENV_INT, offsetof(conf, m.parts), "16", 1, 1024,                        \
	        "partitions; the same in all services, fixed for a cluster's life", false},            \
	    {"PENSTOCK_STREAM_DEDUPE_MS", ENV_INT, offsetof(conf, m.dedupe_ms), "600000", 100, 86400000, \
	        "ms that the broker knows a key for; the same in all services", false},                \
	{                                                                                              \
		"PENSTOCK_STREAM_REPLICAS", ENV_INT, offsetof(conf, m.replicas), "1", 1, 5,            \
		    "replicas of each JetStream stream", false                                         \
	}
/* clang-format on */

/* The exit status of a service that its settings, or what they name, do not let start: an operator
 * has to change something first. 1 is for one that had to give up while it ran. */
#define CANNOT_START 2

/* The start of every main(): handles --help and --version (returns 1: exit 0), loads the table,
 * fills in the instance, starts the logger; -1 after having printed the error (exit CANNOT_START).
 */
int env_main(int argc, char **argv, const char *service, const char *purpose, const char *prefix,
	     const struct env_setting *table, size_t n, void *config,
	     struct env_common *common) MUST_CHECK;

#endif
