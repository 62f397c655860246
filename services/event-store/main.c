#include <stdio.h>

#include "common/log.h"
#include "services/event-store/config.h"
#include "services/event-store/service.h"

int main(int argc, char **argv)
{
	struct store_config config = {0};
	enum store_end end = STORE_END_STOPPED;
	struct error err = {0};
	int rc = env_main(
	    argc, argv, "event-store", "keeps the durable log in PostgreSQL and answers from it",
	    "PENSTOCK_STORE_", store_settings, store_settings_n, &config, &config.common);

	if (rc)
		return rc > 0 ? 0 : CANNOT_START;
	rc = store_config_check(&config, &err);
	if (rc)
		fprintf(stderr, "penstock-event-store: %s\n", err.msg);
	do {
		if (!rc && store_service_run(&config, &end, &err)) {
			log_at(LOG_ERROR, "cannot run", LOG_S("error", err.msg));
			rc = -1;
		}
	} while (!rc && end == STORE_END_ANEW);
	env_done(store_settings, store_settings_n, &config);
	return rc ? CANNOT_START : 0;
}
