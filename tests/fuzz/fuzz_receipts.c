/* Bytes in RECEIPTS, as the event-store takes them: what it finds no fault with packs again to the
 * same, and is within the bounds that PostgreSQL's columns have. */
/* links: services/event-store */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/ids.h"
#include "common/names.h"
#include "services/event-store/receipts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const Penstock__Receipts *r)
{
	for (size_t i = 0; i < r->n_links; i++) {
		const Penstock__LinkReceipt *l = r->links[i];

		assert(name_valid_tenant(l->tenant) && name_valid_channel(l->channel));
		assert(id_valid(l->session) && l->sent < INT64_MAX && l->opened_us > 0);
		for (size_t k = 0; k < l->n_spilled; k++)
			assert(l->spilled[k]->from <= l->spilled[k]->to);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Penstock__Receipts *r = penstock__receipts__unpack(NULL, size, data);

	if (r && !store_receipts_fault(r))
		use(r);
	if (r)
		penstock__receipts__free_unpacked(r, NULL);
	return 0;
}
