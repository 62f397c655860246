/* Any Last-Event-ID, and any text as a frame: what is written is one event of whole lines, whatever
 * is in it. */
/* links: services/edge */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "services/edge/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct client_msg msg = {.op = OP_SUBSCRIBE};
	struct strbuf b = {0};
	char *text = xstrndup((const char *)data, len);

	sse_read_id(text, &msg);
	must(msg.has_after && strlen(msg.after_epoch) <= EPOCH_LEN);
	(void)sse_read_after(text, &msg);
	free(text);
	sse_event(&b, (const char *)data, len, "0123456789abcdef", len % 3);
	must(!memchr(b.data, '\r', b.len));
	must(memmem(b.data, b.len, "\n\n", 2) == b.data + b.len - 2);
	strbuf_done(&b);
	return 0;
}
