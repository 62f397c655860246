#include "services/orchestrator-worker/config.h"

#define C struct worker_settings
#define INT(name, member, dflt, min, max, help)                                                    \
	{                                                                                          \
		"PENSTOCK_WORKER_" name, ENV_INT, offsetof(C, member), dflt, min, max, help, false \
	}
#define MIB 1048576

const struct env_setting worker_settings_table[] = {
    COMMON_SETTINGS(C, common),
    INT("ACK_WAIT_MS", ack_wait_ms, "30000", 300, 600000,
	"a dead worker's tasks go to others after so long, ms; the same in all of a pool"),
    INT("BATCH_SLOTS", batch_slots, "64", 0, 10000,
	"tasks of the pool batch that run at once, besides SLOTS, if POOL is the default one"),
    INT("DELTAS_IN_FLIGHT", deltas_in_flight, "2048", 1, 1000000,
	"pieces of streamed output not acknowledged; beyond: held back and joined"),
    INT("DOCUMENT_MAX", document_max, "4194304", 4096, 64 * MIB,
	"longest document that a jq program is given, bytes"),
    INT("GRACE_MS", grace_ms, "120000", 0, 3600000,
	"how long calls may go on after the first SIGTERM, milliseconds"),
    INT("HTTP_CONCURRENT", http_concurrent, "32", 1, 10000,
	"calls at once of one origin that is no named model"),
    {"PENSTOCK_WORKER_HTTP_PRIVATE", ENV_BOOL, offsetof(C, http_private), "true", 0, 0,
     "stages of the kind http may call private addresses; models always may", false},
    INT("JQ_BUDGET_MS", jq_budget_ms, "1000", 10, 60000,
	"processor time of one run of a jq program, milliseconds"),
    INT("JQ_HELPERS", jq_helpers, "1", 1, 32, "processes that run jq programs"),
    INT("JQ_MEMORY_MB", jq_memory_mb, "512", 64, 65536,
	"address space of a process that runs jq programs, MiB"),
    INT("JQ_OUTPUT_MAX", jq_output_max, "1048576", 1024, 64 * MIB,
	"longest result of a jq program, bytes"),
    INT("JQ_PROGRAMS", jq_programs, "512", 1, 100000,
	"compiled jq programs that each process keeps"),
    INT("JQ_QUEUE", jq_queue, "20000", 1, 1000000,
	"jq runs that wait or run; beyond: the stage is tried again later"),
    INT("JQ_QUEUE_BYTES", jq_queue_bytes, "134217728", MIB, INT64_C(17179869184),
	"bytes that they may hold"),
    INT("OUTPUT_MAX", output_max, "524288", 1024, 900000,
	"longest output of a stage or a task, bytes"),
    {"PENSTOCK_WORKER_POOL", ENV_TEXT, offsetof(C, pool), "default", 0, 0,
     "ready queue that this worker serves", false},
    INT("SLOTS", slots, "256", 1, 10000, "tasks that run at once"),
    INT("WAITING_MAX", waiting_max, "4096", 1, 1000000,
	"calls that wait for a permit of one target; beyond: tried again later"),
};
const size_t worker_settings_count =
    sizeof(worker_settings_table) / sizeof(worker_settings_table[0]);
