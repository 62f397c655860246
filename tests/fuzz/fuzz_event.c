/* Bytes in EVENTS, DELTAS and on pen.live.*: Event, Delta and the replies that carry events. */
/* links: services/router */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/names.h"
#include "proto/command.pb-c.h"
#include "proto/event.pb-c.h"
#include "proto/store.pb-c.h"
#include "services/router/admit_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The two judges of JSON agree as far as the cheap one looks. */
static void use_data(const ProtobufCBinaryData *d)
{
	struct error err;
	bool cheap = admit_json_valid(d->data, d->len);
	json_t *value = d->len ? json_parse((const char *)d->data, d->len, &err) : NULL;
	/* The parser also takes one level more. */
	if (cheap && value) {
		size_t len;
		char *text = json_text(value, &len);
		assert(admit_json_valid(text, len));
		free(text);
	}
	json_decref(value);
}

static void event(const uint8_t *data, size_t size)
{
	Penstock__Event *e = penstock__event__unpack(NULL, size, data);
	if (!e)
		return;
	use_data(&e->data);
	if (name_valid_tenant(e->tenant) && name_valid_channel(e->channel)) {
		char tenant[TENANT_MAX + 1], channel[CHANNEL_MAX + 1];
		unsigned part = part_of(e->tenant, 16), back;
		struct subject s = subject_evt(part, e->tenant, e->channel);
		assert(subject_parse(s.text, &back, tenant, channel));
		assert(back == part && strcmp(tenant, e->tenant) == 0 &&
		       strcmp(channel, e->channel) == 0);
	}
	size_t len = penstock__event__get_packed_size(e);
	uint8_t *packed = malloc(len + 1);
	assert(penstock__event__pack(e, packed) == len);
	Penstock__Event *again = penstock__event__unpack(NULL, len, packed);
	/* protobuf-c keeps fields it does not know, and packs those with a bad tag to what it
	 * refuses to read. */
	if (e->base.n_unknown_fields == 0)
		assert(again && strcmp(again->id, e->id) == 0 && again->digest == e->digest &&
		       again->data.len == e->data.len);
	if (again)
		penstock__event__free_unpacked(again, NULL);
	penstock__event__free_unpacked(e, NULL);
	free(packed);
}

static void delta(const uint8_t *data, size_t size)
{
	Penstock__Delta *d = penstock__delta__unpack(NULL, size, data);
	if (!d)
		return;
	size_t len = penstock__delta__get_packed_size(d);
	uint8_t *packed = malloc(len + 1);
	assert(penstock__delta__pack(d, packed) == len);
	free(packed);
	penstock__delta__free_unpacked(d, NULL);
}

static void replies(const uint8_t *data, size_t size)
{
	Penstock__ReplayReply *r = penstock__replay_reply__unpack(NULL, size, data);
	if (r)
		penstock__replay_reply__free_unpacked(r, NULL);
	Penstock__Reply *reply = penstock__reply__unpack(NULL, size, data);
	if (reply)
		penstock__reply__free_unpacked(reply, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	event(data, size);
	delta(data, size);
	replies(data, size);
	return 0;
}
