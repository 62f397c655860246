/* From a message of EVENTS to what is stored. Pure. Threads: any, one owner an item. */
#ifndef PENSTOCK_EVENT_STORE_ITEM_H
#define PENSTOCK_EVENT_STORE_ITEM_H

#include "common/bus.h"
#include "services/event-store/sink.h"

/* Copies what is needed. Whatever does not decode, has no UUID, names another tenant or channel
 * than its subject, or holds text that PostgreSQL cannot keep (not UTF-8, NUL) becomes poison with
 * its bytes. */
void store_item_init(struct store_item *item, const struct bus_msg *msg);
/* Turns a decoded event into poison: PostgreSQL refused it. reason is static. */
void store_item_poison(struct store_item *item, const char *reason);
/* UTF-8 without a NUL: PostgreSQL can keep it. */
bool store_clean_text(const char *text);
void store_item_done(struct store_item *item);

#endif
