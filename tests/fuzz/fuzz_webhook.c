/* What a stranger sends to a hook: the headers, a line each, and behind them the body. Only what
 * the secret has signed is good. */
/* links: common */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"
#include "common/webhook.h"

#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define NOW    1614265330

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = xstrndup((const char *)data, size), *rest = text;
	char mine[WEBHOOK_SIGNED_LEN + 1];
	struct webhook_message m = {.id = strsep(&rest, "\n"),
				    .timestamp = strsep(&rest, "\n"),
				    .signature = strsep(&rest, "\n")};
	m.body = rest ? rest : "";
	m.len = strlen(m.body);
	bool good = webhook_verify(SECRET, &m, NOW) == WEBHOOK_GOOD;
	if (m.id && m.timestamp && m.signature && webhook_sign(SECRET, &m, mine)) {
		if (good && !strstr(m.signature, mine))
			abort();
		m.signature = mine;
		m.timestamp = "1614265330";
		if (webhook_sign(SECRET, &m, mine) &&
		    webhook_verify(SECRET, &m, NOW) == WEBHOOK_BAD)
			abort();
	} else if (good) {
		abort();
	}
	(void)webhook_secret_valid(text);
	free(text);
	return 0;
}
