/* A bump allocator for protobuf-c: what one command unpacks to is dropped at once with the next
 * reset.
 *
 * Nothing is freed one by one. The first block is kept, others (large messages) go back at the
 * reset. Threads: one owner. */
#ifndef PENSTOCK_ROUTER_ARENA_H
#define PENSTOCK_ROUTER_ARENA_H

#include <protobuf-c/protobuf-c.h>

struct router_arena_block;
struct router_arena {
	ProtobufCAllocator allocator; /* hand this to unpack; never free_unpacked what came of it */
	struct router_arena_block *first, *block;
};

void router_arena_init(struct router_arena *a);
void router_arena_done(struct router_arena *a);
void router_arena_reset(struct router_arena *a);

#endif
