/* The table of simulated models: each with its manner, its knobs and its count.
 *
 * Any name that begins with "sim-" is a model; its third letter chooses the manner: a picks key
 * sentences, c writes one paragraph, everything else (b) a title and bullets. "sim-a@token_ms=5" is
 * sim-a with other knobs for this one request. At most MODELS_MAX. Threads: one owner. */
#ifndef MODELSIM_MODEL_H
#define MODELSIM_MODEL_H

#include "tools/modelsim/knobs.h"
#include "tools/modelsim/stats.h"
#include "tools/modelsim/text.h"

#define MODELS_MAX 64

struct model {
	char name[64];
	enum manner manner;
	struct knobs knobs;
	struct stats stats;
};

struct models {
	struct knobs dflt; /* of a model that is seen for the first time */
	struct model *list[MODELS_MAX];
	size_t n;
};

void models_init(struct models *m, const struct knobs *dflt);
void models_done(struct models *m);
/* len bytes of name, without knobs; makes it if it is a simulated one. NULL: no such model. */
struct model *models_get(struct models *m, const char *name, size_t len);

#endif
