/* What operators may call a schedule: the first byte chooses a zone's jump, the next four the time.
 * What is taken is due at some later time, again and again. */
/* links: common */
#include <stdint.h>
#include <stdlib.h>

#include "common/cron.h"
#include "common/strbuf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct jump {
	int64_t at, by;
};

static int offset(void *arg, int64_t utc, int64_t *offset_s, struct error *err)
{
	const struct jump *jump = arg;
	(void)err;
	*offset_s = utc >= jump->at ? jump->by : 0;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = {0};
	struct cron cron;
	if (size < 5)
		return 0;
	int64_t at = ((int64_t)data[1] << 24 | data[2] << 16 | data[3] << 8 | data[4]);
	struct jump jump = {at + data[0] * 60, ((int)data[0] - 128) * 300};
	char *text = xstrndup((const char *)data + 5, size - 5);
	if (!cron_parse(text, &cron, &err))
		for (int i = 0; i < 4; i++) {
			int64_t next;
			if (cron_next(&cron, at, offset, &jump, &next, &err) || next <= at)
				abort();
			at = next;
		}
	free(text);
	return 0;
}
