#include "tools/modelsim/model.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void models_init(struct models *m, const struct knobs *dflt)
{
	*m = (struct models){.dflt = *dflt};
	models_get(m, "sim-a", 5);
	models_get(m, "sim-b", 5);
	models_get(m, "sim-c", 5);
	models_get(m, "sim-embed", 9);
}

void models_done(struct models *m)
{
	for (size_t i = 0; i < m->n; i++) {
		stats_done(&m->list[i]->stats);
		free(m->list[i]);
	}
	m->n = 0;
}

static bool valid(const char *name, size_t len)
{
	if (len < 5 || len >= sizeof(((struct model *)0)->name) || memcmp(name, "sim-", 4) != 0)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)name[i]) && name[i] != '-' && name[i] != '_' &&
		    name[i] != '.')
			return false;
	return true;
}

struct model *models_get(struct models *m, const char *name, size_t len)
{
	struct model *model;

	for (size_t i = 0; i < m->n; i++)
		if (strlen(m->list[i]->name) == len && memcmp(m->list[i]->name, name, len) == 0)
			return m->list[i];
	if (m->n == MODELS_MAX || !valid(name, len))
		return NULL;
	model = xcalloc(1, sizeof(*model));
	memcpy(model->name, name, len);
	model->manner = name[4] == 'a'   ? MANNER_SENTENCES
			: name[4] == 'c' ? MANNER_PARAGRAPH
					 : MANNER_BULLETS;
	model->knobs = m->dflt;
	stats_init(&model->stats);
	m->list[m->n++] = model;
	return model;
}
