#include "services/router/config.h"

#define C struct router_config

const struct env_setting router_settings[] = {
    COMMON_SETTINGS(C, common),
    {"PENSTOCK_ROUTER_DATA_MAX", ENV_INT, offsetof(C, data_max), "65536", 256, 1048576,
     "longest data of an event, bytes", false},
    {"PENSTOCK_ROUTER_DELAY_MAX_MS", ENV_INT, offsetof(C, delay_max_ms), "2592000000", 0,
     INT64_C(31536000000), "how far ahead a task's not_before may be", false},
    {"PENSTOCK_ROUTER_INFLIGHT", ENV_INT, offsetof(C, inflight), "20000", 1, 1000000,
     "commands that may wait for the broker; beyond: overloaded", false},
    {"PENSTOCK_ROUTER_INFLIGHT_BYTES", ENV_INT, offsetof(C, inflight_bytes), "67108864", 1048576,
     INT64_C(17179869184), "bytes that tasks among them may hold", false},
    {"PENSTOCK_ROUTER_INPUT_MAX", ENV_INT, offsetof(C, input_max), "262144", 256, 1048576,
     "longest input of a task, bytes", false},
    {"PENSTOCK_ROUTER_LINGER_MS", ENV_INT, offsetof(C, linger_ms), "1000", 0, 4000,
     "who stops waits so long for the next owner of a part to listen", false},
    {"PENSTOCK_ROUTER_RECENT", ENV_INT, offsetof(C, recent), "65536", 1, 16777216,
     "idempotency keys remembered; 64 bytes each", false},
    {"PENSTOCK_ROUTER_SLOT_TOKENS", ENV_INT, offsetof(C, slot_tokens), "8192", 1, 1000000000,
     "estimated tokens that a place in a tenant's window stands for", false},
    {"PENSTOCK_ROUTER_STORE_TIMEOUT_MS", ENV_INT, offsetof(C, store_timeout_ms), "2000", 10, 60000,
     "how long an acknowledgement may take", false},
};
const size_t router_settings_count = sizeof(router_settings) / sizeof(*router_settings);

void router_config_apply(const struct router_config *config, struct router_conf *conf)
{
	router_conf_init(conf);
	conf->instance = config->common.instance;
	conf->parts = (unsigned)config->common.parts;
	conf->inflight_max = (size_t)config->inflight;
	conf->inflight_bytes = (size_t)config->inflight_bytes;
	conf->recent_max = (size_t)config->recent;
	conf->data_max = (size_t)config->data_max;
	conf->input_max = (size_t)config->input_max;
	conf->delay_max_ms = config->delay_max_ms;
	conf->store_timeout_ms = (int)config->store_timeout_ms;
	conf->linger_ms = (int)config->linger_ms;
	conf->slot_tokens = config->slot_tokens;
}
