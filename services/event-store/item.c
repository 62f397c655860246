#include "services/event-store/item.h"

#include <stdlib.h>
#include <string.h>

#include "common/ids.h"
#include "common/names.h"
#include "common/strbuf.h"
#include "common/ws.h"

/* What an event costs beyond its bytes: the message's own allocations. */
#define ITEM_OVERHEAD 640

static bool clean(const void *text, size_t len)
{
	uint32_t state = 0;
	return !memchr(text, 0, len) && ws_utf8(&state, text, len) && state == 0;
}

bool store_clean_text(const char *text)
{
	return clean(text, strlen(text));
}

/* NULL: it can be stored. */
static const char *fault_of(const Penstock__Event *e, const char *subject)
{
	unsigned part;
	char tenant[TENANT_MAX + 1], channel[CHANNEL_MAX + 1];

	if (!id_valid(e->id))
		return "the event id is no UUID";
	if (!subject_parse(subject, &part, tenant, channel))
		return "its subject is no channel's";
	if (strcmp(tenant, e->tenant) != 0 || strcmp(channel, e->channel) != 0)
		return "its tenant or channel is not its subject's";
	if (e->version > INT32_MAX || e->depth > INT32_MAX)
		return "the version or the depth is too large";
	if (e->data.len && !clean(e->data.data, e->data.len))
		return "the data is not UTF-8 text";
	if (!store_clean_text(e->type) || !store_clean_text(e->trace) ||
	    !store_clean_text(e->key) || !store_clean_text(e->session) ||
	    !store_clean_text(e->router) || !store_clean_text(e->command) ||
	    !store_clean_text(e->principal))
		return "a text is not UTF-8";
	return NULL;
}

void store_item_init(struct store_item *item, const struct bus_msg *msg)
{
	const char *fault = "it does not decode as an event";
	Penstock__Event *event = penstock__event__unpack(NULL, msg->len, msg->data);

	*item = (struct store_item){
	    .seq = msg->seq, .stored_us = msg->time_us, .cost = msg->len + ITEM_OVERHEAD};
	if (event)
		fault = fault_of(event, msg->subject);
	if (!fault) {
		item->event = event;
		return;
	}
	if (event)
		penstock__event__free_unpacked(event, NULL);
	item->reason = fault;
	item->subject = xstrdup(msg->subject);
	item->bytes = xmemdup(msg->data, msg->len);
	item->len = msg->len;
}

void store_item_poison(struct store_item *item, const char *reason)
{
	Penstock__Event *e = item->event;
	struct subject subject =
	    subject_evt(part_of(e->tenant, NAMES_PARTS_DEFAULT), e->tenant, e->channel);

	item->reason = reason;
	item->subject = xstrdup(subject.text);
	item->len = penstock__event__get_packed_size(e);
	item->bytes = xmalloc(item->len + 1);
	penstock__event__pack(e, item->bytes);
	penstock__event__free_unpacked(e, NULL);
	item->event = NULL;
}

void store_item_done(struct store_item *item)
{
	if (item->event)
		penstock__event__free_unpacked(item->event, NULL);
	free(item->subject);
	free(item->bytes);
	item->event = NULL;
	item->subject = NULL;
	item->bytes = NULL;
}
