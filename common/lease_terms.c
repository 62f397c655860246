#include "common/lease_terms.h"

bool lease_unlimited(const struct lease_limits *l)
{
	return l->rpm <= 0 && l->tpm <= 0 && l->concurrent <= 0;
}

int64_t lease_safe(int64_t limit, int64_t safe)
{
	if (limit <= 0)
		return 0;
	if (safe >= 0)
		return safe < limit ? safe : limit;
	return limit >= 4 ? limit / 4 : limit > 1;
}

int64_t lease_safe_part(int64_t safe, size_t workers, size_t rank)
{
	int64_t n = workers > 0 ? (int64_t)workers : 1;
	return safe / n + ((int64_t)rank < safe % n);
}
