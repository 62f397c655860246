#include "services/router/arena.h"

#include <stdalign.h>
#include <stddef.h>
#include <stdlib.h>

#include "common/strbuf.h"

#define BLOCK_SIZE ((size_t)32 << 10)
#define ALIGN      alignof(max_align_t)

struct router_arena_block {
	struct router_arena_block *next; /* older */
	size_t used, size;
	alignas(ALIGN) unsigned char data[];
};

static struct router_arena_block *block_new(size_t size)
{
	struct router_arena_block *b = xmalloc(sizeof(*b) + size);
	b->next = NULL;
	b->used = 0;
	b->size = size;
	return b;
}

static void *arena_alloc(void *data, size_t n)
{
	struct router_arena *a = data;
	n = (n + ALIGN - 1) & ~(ALIGN - 1);
	struct router_arena_block *b = a->block;
	if (b->size - b->used < n) {
		b = block_new(n > BLOCK_SIZE ? n : BLOCK_SIZE);
		b->next = a->block;
		a->block = b;
	}
	void *p = b->data + b->used;
	b->used += n;
	return p;
}

static void arena_free(void *data, void *p)
{
	(void)data;
	(void)p;
}

void router_arena_init(struct router_arena *a)
{
	a->allocator = (ProtobufCAllocator){arena_alloc, arena_free, a};
	a->first = a->block = block_new(BLOCK_SIZE);
}

void router_arena_reset(struct router_arena *a)
{
	while (a->block != a->first) {
		struct router_arena_block *older = a->block->next;
		free(a->block);
		a->block = older;
	}
	a->first->used = 0;
}

void router_arena_done(struct router_arena *a)
{
	if (!a->first)
		return;
	router_arena_reset(a);
	free(a->first);
	a->first = a->block = NULL;
}
