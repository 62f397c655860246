/* What a stranger sends as a token, as the claims of one that is signed well, and as a resume
 * token: nobody is let in whom no key knows, and who is let in is what the claims say. */
/* links: services/edge */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/base64url.h"
#include "common/strbuf.h"
#include "services/edge/auth.h"
#include "services/edge/jwt.h"
#include "services/edge/resume.h"

#define NOW    INT64_C(1700000000000000)
#define SECRET "0123456789abcdef0123456789abcdef"
#define PEM                                                                                        \
	"-----BEGIN PUBLIC KEY-----\\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1"  \
	"gHMzV7\\n6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==\\n-----END PUBLIC " \
	"KEY-----\\n"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct catalog *catalog;

static void put(const char *key, const char *doc)
{
	struct error err;
	int rc = catalog_put(catalog, key, doc, strlen(doc), &err);

	assert(rc == 0);
}

static void prepare(void)
{
	if (catalog)
		return;
	catalog = catalog_new();
	put("tenant.t", "{\"id\":\"t\"}");
	/* SHA-256 of "s" */
	put("key.k", "{\"id\":\"k\",\"tenant\":\"t\",\"scopes\":[\"publish\"],\"hash\":"
		     "\"043a718774c572bd8a25adbeb1bfcd5c0256ae11cecf9f9c3f925d0e52beaf89\"}");
	put("signing.t.h",
	    "{\"id\":\"h\",\"tenant\":\"t\",\"alg\":\"HS256\",\"secret\":\"" SECRET "\"}");
	put("signing.t.e",
	    "{\"id\":\"e\",\"tenant\":\"t\",\"alg\":\"ES256\",\"public_key\":\"" PEM "\"}");
}

/* No key here has signed or made anything that the fuzzer knows, but the one of "pk_k_s". */
static void as_token(const char *text)
{
	struct auth_identity who = {.scopes = 0};
	enum auth_result result = auth_check(catalog, text, NULL, NOW, &who);

	assert(result == AUTH_BAD || (result == AUTH_OK && !strcmp(text, "pk_k_s")));
	auth_identity_done(&who);
}

static void as_claims(const char *text, size_t len)
{
	static const char head[] = "{\"alg\":\"HS256\",\"kid\":\"h\"}";
	struct auth_identity who = {.scopes = 0};
	struct strbuf b = {0};
	uint8_t mac[SIGN_HS256_LEN];

	base64url_add(&b, head, sizeof(head) - 1);
	strbuf_addc(&b, '.');
	base64url_add(&b, text, len);
	sign_hs256(SECRET, strlen(SECRET), b.data, b.len, mac);
	strbuf_addc(&b, '.');
	base64url_add(&b, mac, sizeof(mac));
	if (auth_check(catalog, b.data, NULL, NOW, &who) == AUTH_OK) {
		char rights[RIGHTS_MAX + 1];

		assert(!strcmp(who.tenant, "t") && !strncmp(who.id, "jwt:h:", 6));
		assert(strlen(who.id) > 6 && strlen(who.id) <= PRINCIPAL_MAX);
		assert(!strchr(who.id, ' ') && who.expires_us > NOW && who.permit);
		/* What it allows goes on in a resume token. */
		assert(permit_text(who.permit, rights, sizeof(rights)));
		auth_identity_done(&who);
	}
	strbuf_done(&b);
}

static void as_resume(const char *text)
{
	struct resume_claim claim;
	bool good = resume_read(text, "another key", NOW / 1000, &claim);

	assert(!good);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	prepare();
	if (size == 0)
		return 0;
	text = malloc(size);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = 0;
	switch (*data % 3) {
	case 0:
		as_token(text);
		break;
	case 1:
		as_claims(text, size - 1);
		break;
	default:
		as_resume(text);
	}
	free(text);
	return 0;
}
