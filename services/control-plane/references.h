/* Who names which model. Called within a change of the scope "models". Threads: the change's. */
#ifndef PENSTOCK_CONTROL_REFERENCES_H
#define PENSTOCK_CONTROL_REFERENCES_H

#include "services/control-plane/change.h"

/* 422 naming the first model of the list that does not exist. */
int references_exist(struct change *ch, const json_t *names) MUST_CHECK;
/* 409 naming somebody who needs this model. */
int references_none(struct change *ch, const char *model) MUST_CHECK;

#endif
