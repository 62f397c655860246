/* Max-min fairness by water-filling (Bertsekas and Gallager, Data Networks, 6.5.2). */
#include "services/control-plane/lease.h"

static int64_t part(int64_t want, int64_t had, int64_t level)
{
	int64_t room = level > had ? level - had : 0;
	return want < room ? want : room;
}

static int64_t filled(const int64_t *want, const int64_t *had, size_t n, int64_t level,
		      int64_t capacity)
{
	int64_t sum = 0;
	for (size_t i = 0; i < n && sum <= capacity; i++)
		sum += part(want[i], had ? had[i] : 0, level);
	return sum;
}

int64_t lease_share(const int64_t *want, const int64_t *had, size_t n, size_t me, int64_t capacity)
{
	int64_t low = 0, high = 0; /* the highest level that fits is in [low, high] */
	if (capacity <= 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		if ((had ? had[i] : 0) + want[i] > high)
			high = (had ? had[i] : 0) + want[i];
	while (low < high) {
		int64_t level = low + (high - low + 1) / 2;
		if (filled(want, had, n, level, capacity) <= capacity)
			low = level;
		else
			high = level - 1;
	}
	int64_t left = capacity - filled(want, had, n, low, capacity);
	for (size_t i = 0; i < n; i++) {
		int64_t mine = part(want[i], had ? had[i] : 0, low);
		bool more = left > 0 && mine < want[i] && (had ? had[i] : 0) <= low;
		left -= more;
		if (i == me)
			return mine + more;
	}
	return 0;
}
