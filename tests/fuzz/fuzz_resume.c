/* Resume tokens from clients: as they come, and, so that what is behind the signature is reached as
 * well, the bytes as a claim that was signed. Whatever is taken makes a token that says the same.
 */
/* links: services/edge */
#include <assert.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "common/base64url.h"
#include "services/edge/resume.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char key[] = "secret";

static void use(const char *token)
{
	struct resume_claim claim, same;
	struct strbuf again = {0};

	if (!resume_read(token, key, 0, &claim))
		return;
	resume_token(&again, key, &claim);
	assert(resume_read(again.data, key, 0, &same));
	assert(!strcmp(same.session.text, claim.session.text) &&
	       !strcmp(same.rights, claim.rights));
	assert(!strcmp(same.tenant, claim.tenant) && !strcmp(same.principal, claim.principal));
	assert(same.expires_ms == claim.expires_ms && same.until_us == claim.until_us);
	strbuf_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = calloc(1, size + 1);
	struct strbuf token = {0};
	uint8_t mac[32];
	unsigned n = sizeof(mac);

	memcpy(text, data, size);
	use(text);
	HMAC(EVP_sha256(), key, (int)strlen(key), data, size, mac, &n);
	base64url_add(&token, data, size);
	strbuf_addc(&token, '.');
	base64url_add(&token, mac, sizeof(mac));
	use(token.data);
	strbuf_done(&token);
	free(text);
	return 0;
}
