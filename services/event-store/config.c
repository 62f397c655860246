#include "services/event-store/config.h"

#include <libpq-fe.h>
#include <string.h>

#define AT(member) offsetof(struct store_config, member)

const struct env_setting store_settings[] = {
    COMMON_SETTINGS(struct store_config, common),
    {"PENSTOCK_PG_DSN", ENV_TEXT, AT(pg_dsn), NULL, 0, 0, "PostgreSQL connection string", true},
    {"PENSTOCK_STORE_BATCH", ENV_INT, AT(batch), "2000", 1, 20000,
     "messages in one transaction at most", false},
    {"PENSTOCK_STORE_GATHER_MS", ENV_INT, AT(gather_ms), "20", 1, 10000,
     "at most one transaction in this time unless it is full, milliseconds; an idle one writes at "
     "once, from 250 messages a second on it gathers longer, up to 8 times",
     false},
    {"PENSTOCK_STORE_HELD_BYTES", ENV_INT, AT(held_bytes), "33554432", 1048576, 4294967296,
     "memory for messages that are not committed yet, bytes", false},
    {"PENSTOCK_STORE_KEEP_BYTES", ENV_INT, AT(keep_bytes), "4294967296", 0, INT64_MAX,
     "EVENTS is trimmed to this size, bytes; never above what PostgreSQL has", false},
    {"PENSTOCK_STORE_KEEP_MS", ENV_INT, AT(keep_ms), "3600000", 0, 31536000000,
     "EVENTS is trimmed of what is older than this, milliseconds; never above what PostgreSQL has",
     false},
    {"PENSTOCK_STORE_QUERY_QUEUE", ENV_INT, AT(query_queue), "1024", 1, 100000,
     "queries at a time; the next one is answered overloaded", false},
    {"PENSTOCK_STORE_QUERY_THREADS", ENV_INT, AT(query_threads), "2", 1, 64,
     "threads that query, each with its own connection to PostgreSQL", false},
    {"PENSTOCK_STORE_RECEIPT_DAYS", ENV_INT, AT(receipt_days), "7", 1, 36500,
     "receipts of deliveries are kept in PostgreSQL for so many days", false},
    {"PENSTOCK_STORE_RELEASE_PER_S", ENV_INT, AT(release_per_s), "500", 10, 2500,
     "parked tasks that are let go on a second, over all tenants", false},
    {"PENSTOCK_STORE_RETENTION_DAYS", ENV_INT, AT(retention_days), "30", 1, 36500,
     "events, keys and finished tasks are kept in PostgreSQL for so many days", false},
    {"PENSTOCK_STORE_TASK_KEEP_BYTES", ENV_INT, AT(task_max_bytes), "6442450944", 0, INT64_MAX,
     "above this size of EVENTS unfinished tasks do not hold it back any more, bytes", false},
    {"PENSTOCK_STORE_TASK_KEEP_MS", ENV_INT, AT(task_max_ms), "86400000", 0, 31536000000,
     "unfinished tasks older than this do not hold EVENTS back any more, milliseconds", false},
    {"PENSTOCK_STORE_TRIM_MS", ENV_INT, AT(trim_ms), "10000", 6000, 3600000,
     "how often EVENTS is looked at for trimming, milliseconds", false},
};
const size_t store_settings_n = sizeof(store_settings) / sizeof(store_settings[0]);

int store_config_check(const struct store_config *config, struct error *err)
{
	char *words = NULL;
	PQconninfoOption *options = PQconninfoParse(config->pg_dsn, &words);

	if (!options) {
		int len = words ? (int)strcspn(words, "\n") : 0;
		err_set(err, ERR_FATAL, "PENSTOCK_PG_DSN: %.*s", len, words ? words : "");
		PQfreemem(words);
		return -1;
	}
	PQconninfoFree(options);
	if (config->task_max_bytes < config->keep_bytes)
		return err_set(
		    err, ERR_FATAL,
		    "PENSTOCK_STORE_TASK_KEEP_BYTES is less than PENSTOCK_STORE_KEEP_BYTES");
	return 0;
}
