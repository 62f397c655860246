#include <stdio.h>
#include <string.h>

#include "services/control-plane/config.h"
#include "services/control-plane/plane.h"

#define ADMIN_KEY_MIN 16

int main(int argc, char **argv)
{
	struct control_config config = {0};
	int rc = env_main(argc, argv, "control-plane", CONTROL_PURPOSE, CONTROL_PREFIX,
			  control_settings, control_settings_n, &config, &config.common);
	if (rc)
		return rc > 0 ? 0 : CANNOT_START;
	if (strlen(config.admin_key) < ADMIN_KEY_MIN) {
		fprintf(stderr,
			"penstock-control-plane: PENSTOCK_ADMIN_KEY: at least %d characters\n",
			ADMIN_KEY_MIN);
		rc = CANNOT_START; /* as for every setting that is wrong */
	} else {
		rc = control_run(&config);
	}
	env_done(control_settings, control_settings_n, &config);
	return rc;
}
