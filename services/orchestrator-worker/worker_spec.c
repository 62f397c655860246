/* Parsed pipelines, kept until the configuration changes. Tasks hold the ones that they use. */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "services/orchestrator-worker/worker_impl.h"

#define SPECS_MAX 1024

struct pipeline_spec *worker_spec(struct worker *w, const char *name, unsigned version)
{
	for (struct spec_entry *e = w->specs; e != NULL; e = e->next)
		if (e->version == version && strcmp(e->name, name) == 0)
			return e->spec;
	const struct pipeline *pipeline = catalog_pipeline(w->catalog, name, version);
	if (pipeline == NULL)
		return NULL;
	struct error err;
	struct pipeline_spec *spec = pipeline_parse(pipeline->doc, &err);
	if (spec == NULL) {
		log_at(LOG_ERROR, "pipeline refused", LOG_S("pipeline", name),
		       LOG_I("version", version), LOG_S("error", err.msg));
		return NULL;
	}
	if (w->n_specs >= SPECS_MAX)
		worker_spec_forget(w);
	struct spec_entry *e = xmalloc(sizeof(*e));
	*e = (struct spec_entry){
	    .next = w->specs, .name = xstrdup(name), .version = version, .spec = spec};
	w->specs = e;
	w->n_specs++;
	return spec;
}

void worker_spec_forget(struct worker *w)
{
	for (struct spec_entry *e; (e = w->specs) != NULL;) {
		w->specs = e->next;
		pipeline_unref(e->spec);
		free(e->name);
		free(e);
	}
	w->n_specs = 0;
}
