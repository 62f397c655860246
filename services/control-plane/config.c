#include "services/control-plane/config.h"

#define AT(member) offsetof(struct control_config, member)

const struct env_setting control_settings[] = {
    {"PENSTOCK_ADMIN_KEY", ENV_TEXT, AT(admin_key), NULL, 0, 0,
     "the key that may do everything, as Bearer token; at least 16 characters", true},
    COMMON_SETTINGS(struct control_config, common),
    {"PENSTOCK_CONTROL_ADDR", ENV_TEXT, AT(addr), "127.0.0.1", 0, 0,
     "address of the operators' API", false},
    {"PENSTOCK_CONTROL_CONNECTIONS", ENV_INT, AT(connections), "256", 4, 65536,
     "connections that are open at the same time; more are refused", false},
    {"PENSTOCK_CONTROL_PORT", ENV_INT, AT(port), "7081", 0, 65535,
     "port of the operators' API; 0: any, logged at start", false},
    {"PENSTOCK_CONTROL_PUBLISH_WAIT_MS", ENV_INT, AT(publish_wait_ms), "2000", 0, 10000,
     "how long a mutation's answer waits for its publication, milliseconds", false},
    {"PENSTOCK_CONTROL_STORE_TIMEOUT_MS", ENV_INT, AT(store_timeout_ms), "5000", 100, 60000,
     "how long a question to the event-store may take, milliseconds", false},
    {"PENSTOCK_CONTROL_THREADS", ENV_INT, AT(threads), "8", 1, 64,
     "threads that serve HTTP, each with its own connection to PostgreSQL", false},
    {"PENSTOCK_CONTROL_URL", ENV_TEXT, AT(url), "", 0, 0,
     "where operators reach this process; empty: http://<addr>:<port>", false},
    {"PENSTOCK_PG_DSN", ENV_TEXT, AT(pg_dsn), NULL, 0, 0, "PostgreSQL connection string", true},
};
const size_t control_settings_n = sizeof(control_settings) / sizeof(*control_settings);
