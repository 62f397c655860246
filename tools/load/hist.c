#include "tools/load/hist.h"

/* The first 512 values have a bucket each; from then on 512 for every doubling (half of them new).
 */
static unsigned bucket(uint64_t us)
{
	unsigned shift = 0;

	while ((us >> shift) >= HIST_SUB)
		shift++;
	if (shift == 0)
		return (unsigned)us;
	return shift * (HIST_SUB / 2) + (unsigned)(us >> shift);
}

static int64_t upper(unsigned b)
{
	unsigned shift = b < HIST_SUB ? 0 : (b - HIST_SUB / 2) / (HIST_SUB / 2);
	uint64_t step = b - shift * (HIST_SUB / 2);

	return (int64_t)(((step + 1) << shift) - 1);
}

void hist_add(struct hist *h, int64_t us)
{
	unsigned b = bucket(us < 0 ? 0 : (uint64_t)us);

	h->count[b < HIST_BUCKETS ? b : HIST_BUCKETS - 1]++;
	h->n++;
	h->sum += us;
	if (us > h->max)
		h->max = us;
}

int64_t hist_quantile(const struct hist *h, double q)
{
	uint64_t want = (uint64_t)(q * (double)h->n), seen = 0;

	if (h->n == 0)
		return 0;
	if (want >= h->n)
		return h->max;
	for (unsigned b = 0; b < HIST_BUCKETS; b++) {
		seen += h->count[b];
		if (seen > want)
			return upper(b) < h->max ? upper(b) : h->max;
	}
	return h->max;
}

void hist_write(const struct hist *h, struct strbuf *out)
{
	static const struct {
		const char *name;
		double q;
	} rows[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}};

	if (h->n == 0) {
		strbuf_adds(out, "null");
		return;
	}
	strbuf_addf(out, "{\"n\":%llu,\"mean\":%.3f", (unsigned long long)h->n,
		    (double)h->sum / (double)h->n / 1000);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		strbuf_addf(out, ",\"%s\":%.3f", rows[i].name,
			    (double)hist_quantile(h, rows[i].q) / 1000);
	strbuf_addf(out, ",\"max\":%.3f}", (double)h->max / 1000);
}
