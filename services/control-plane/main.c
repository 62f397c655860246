#include "services/control-plane/config.h"
#include "services/control-plane/plane.h"

int main(int argc, char **argv)
{
	struct control_config config = {0};
	int rc = env_main(argc, argv, "control-plane", CONTROL_PURPOSE, CONTROL_PREFIX,
			  control_settings, control_settings_n, &config, &config.common);
	if (rc)
		return rc > 0 ? 0 : 2;
	rc = control_run(&config);
	env_done(control_settings, control_settings_n, &config);
	return rc;
}
