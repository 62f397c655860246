#include "services/edge/known.h"

#include <string.h>

#include "common/ids.h"

/* By the first two digits. */
static unsigned place(const char hash[65])
{
	unsigned n = 0;

	for (unsigned i = 0; i < 2; i++)
		n = n * 16 + (unsigned)(hash[i] <= '9' ? hash[i] - '0' : hash[i] - 'a' + 10);
	return n % KNOWN_N;
}

void known_add(struct known *k, const char hash[65], const struct principal *who, int64_t now_us)
{
	unsigned i = place(hash);

	memcpy(k->entries[i].hash, hash, sizeof(k->entries[i].hash));
	k->entries[i].who = who;
	k->entries[i].until_us = now_us + KNOWN_US;
}

const struct principal *known_find(const struct known *k, const char hash[65], int64_t now_us)
{
	unsigned i = place(hash);

	if (!k->entries[i].who || k->entries[i].until_us <= now_us ||
	    !secret_equal(k->entries[i].hash, hash))
		return NULL;
	return k->entries[i].who;
}

void known_forget(struct known *k, const struct principal *who)
{
	for (unsigned i = 0; i < KNOWN_N; i++)
		if (!who || k->entries[i].who == who)
			k->entries[i].who = NULL;
}
