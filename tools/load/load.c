#include "tools/load/load.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

int64_t load_clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void errors_count(struct errors *e, const char *code)
{
	unsigned i;

	for (i = 0; i < e->n && strncmp(e->list[i].code, code, sizeof(e->list[i].code) - 1) != 0;
	     i++)
		;
	if (i == ERROR_CODES_MAX)
		i--;
	if (i == e->n) {
		snprintf(e->list[i].code, sizeof(e->list[i].code), "%s", code);
		e->n++;
	}
	e->list[i].n++;
}

void errors_write(const struct errors *e, struct strbuf *out)
{
	strbuf_addc(out, '{');
	for (unsigned i = 0; i < e->n; i++) {
		if (i > 0)
			strbuf_addc(out, ',');
		strbuf_add_json(out, e->list[i].code);
		strbuf_addf(out, ":%llu", (unsigned long long)e->list[i].n);
	}
	strbuf_addc(out, '}');
}
