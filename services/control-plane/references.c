#include "services/control-plane/references.h"
#include "common/json.h"

#include <stdlib.h>

#include "common/pg.h"

int references_exist(struct change *ch, const json_t *names)
{
	if (json_array_size(names) == 0)
		return 0;
	char *list = json_text(names, NULL);
	PGresult *res =
	    change_query(ch,
			 "SELECT wanted FROM json_array_elements_text($1::json) AS wanted"
			 " WHERE NOT EXISTS (SELECT FROM control.models WHERE name = wanted)"
			 " LIMIT 1",
			 1, (const char *[]){list});
	free(list);
	if (!res)
		return -1;
	int rc = 0;
	if (PQntuples(res))
		rc = call_fail(ch->call, 422, "schema_invalid", "there is no model %s",
			       pg_text(res, 0, 0));
	PQclear(res);
	return rc;
}

int references_none(struct change *ch, const char *model)
{
	PGresult *res = change_query(ch,
				     "SELECT format('pipeline %s version %s', name, version)"
				     " FROM control.pipeline_models WHERE model = $1 UNION ALL"
				     " SELECT format('model %s (fallbacks)', name)"
				     " FROM control.model_fallbacks WHERE fallback = $1 LIMIT 1",
				     1, (const char *[]){model});
	if (!res)
		return -1;
	int rc = 0;
	if (PQntuples(res))
		rc = call_fail(ch->call, 409, "conflict", "%s needs it", pg_text(res, 0, 0));
	PQclear(res);
	return rc;
}
