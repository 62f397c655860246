#include "services/event-store/lead.h"

#include "common/pg.h"

int lead_seek(PGconn *conn, const char *lock, int *pid, bool *gained, struct error *err)
{
	*gained = false;
	if (*pid == PQbackendPID(conn))
		return 0;
	PGresult *res =
	    pg_query(conn, "SELECT pg_try_advisory_lock($1::int8)", 1, (const char *[]){lock}, err);
	if (!res)
		return -1;
	*gained = pg_bool(res, 0, 0);
	*pid = *gained ? PQbackendPID(conn) : 0;
	PQclear(res);
	return 0;
}
