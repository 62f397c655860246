/* API keys that the hub has just found good, in a reactor: whoever comes with one of them again is
 * let in without asking it, for a second. Kept is the hash of the token, and the principal that it
 * belongs to while that one has a session here. A change of the configuration forgets them all.
 * Pure; threads: the reactor's. */
#ifndef PENSTOCK_EDGE_KNOWN_H
#define PENSTOCK_EDGE_KNOWN_H

#include <stdint.h>

#define KNOWN_N  64
#define KNOWN_US 1000000

struct principal;

struct known { /* zeroed: none */
	struct {
		char hash[65];               /* sha256_hex() of the token */
		const struct principal *who; /* NULL: none */
		int64_t until_us;
	} entries[KNOWN_N];
};

/* One that is in the way is forgotten. */
void known_add(struct known *k, const char hash[65], const struct principal *who, int64_t now_us);
const struct principal *known_find(const struct known *k, const char hash[65], int64_t now_us);
/* who NULL: everybody. */
void known_forget(struct known *k, const struct principal *who);

#endif
