/* Bytes in TASKS and BACKLOG: what unpacks must pack again to something that unpacks to the same.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/ids.h"
#include "common/names.h"
#include "proto/task.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const Penstock__Ticket *t)
{
	char channel[CHANNEL_MAX + 1];
	if (!id_valid(t->task) || !name_valid_tenant(t->tenant) || !name_valid_tenant(t->pool))
		return;
	task_channel(t->task, channel);
	struct subject task = subject_task(t->pool, t->tenant);
	struct subject wait = subject_wait(part_of(t->tenant, 16), t->tenant, t->pool);
	assert(name_valid_channel(channel));
	assert(strlen(task.text) < SUBJECT_MAX && strlen(wait.text) < SUBJECT_MAX);
}

/* protobuf-c keeps fields it does not know, and packs those with a bad tag to what it refuses to
 * read. */
static bool known_only(const Penstock__Ticket *t)
{
	return t->base.n_unknown_fields == 0 &&
	       (!t->accepted || t->accepted->base.n_unknown_fields == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Penstock__Ticket *t = penstock__ticket__unpack(NULL, size, data);
	if (!t)
		return 0;
	use(t);
	size_t len = penstock__ticket__get_packed_size(t);
	uint8_t *packed = malloc(len + 1);
	assert(penstock__ticket__pack(t, packed) == len);
	Penstock__Ticket *again = penstock__ticket__unpack(NULL, len, packed);
	if (known_only(t)) {
		assert(again && strcmp(again->task, t->task) == 0 && again->version == t->version);
		assert(!again->accepted == !t->accepted);
	}
	if (again)
		penstock__ticket__free_unpacked(again, NULL);
	penstock__ticket__free_unpacked(t, NULL);
	free(packed);
	return 0;
}
