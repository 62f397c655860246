#include "services/event-store/event_input.h"

#include "common/ids.h"

void event_input_add(struct strbuf *b, const struct event_input *e)
{
	char time[TIME_LEN + 1];
	time_format(e->time_us, time);
	strbuf_addf(b, "{\"event\":{\"id\":\"%s\",\"channel\":", e->id);
	strbuf_add_json(b, e->channel);
	strbuf_adds(b, ",\"type\":");
	strbuf_add_json(b, e->type);
	strbuf_addf(
	    b, ",\"version\":%lld,\"epoch\":\"%llu\",\"offset\":%lld,\"time\":\"%s\",\"data\":",
	    (long long)e->version, (unsigned long long)e->epoch, (long long)e->offset, time);
	strbuf_adds(b, *e->data ? e->data : "null");
	strbuf_addc(b, '}');
	if (e->replay)
		strbuf_addf(b, ",\"replay\":\"%s\"", e->replay);
	strbuf_addc(b, '}');
}
