/* /v1/audit: what was changed, newest first. */
#include "services/control-plane/resources.h"

void audit_list(struct call *call)
{
	call_list(
	    call, "audit",
	    "SELECT id, json_build_object('id', id::text, 'at', to_char(at AT TIME ZONE 'UTC',"
	    "  'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), 'actor', actor, 'role', role,"
	    "  'action', action, 'resource', resource, 'tenant', tenant, 'before', before,"
	    "  'after', after, 'reason', reason, 'trace', trace)"
	    " FROM control.audit WHERE ($1::bigint IS NULL OR id < $1::bigint)"
	    " ORDER BY id DESC LIMIT $2::bigint",
	    NULL);
}
