/* /v1/members: who is alive, from the member list. */
#include "services/control-plane/bridge.h"
#include "services/control-plane/resources.h"

void members_list(struct call *call)
{
	json_t *items = call->api->bridge ? bridge_members(call->api->bridge, NULL) : NULL;
	if (!items)
		call_fail(call, 503, "unavailable", "the list of members is not known yet");
	else
		call_value(call,
			   json_pack("{soso}", "items", items, "next_page_token", json_null()));
}
