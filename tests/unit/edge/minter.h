/* Makes JSON Web Tokens as others make them: what is signed is whatever the test says. */
#ifndef PENSTOCK_TEST_MINTER_H
#define PENSTOCK_TEST_MINTER_H

#include <openssl/evp.h>

#include "common/signing.h"

struct minter {
	enum sign_alg alg;
	const char *secret; /* HS256 */
	EVP_PKEY *key;
};

void minter_init(struct minter *m, enum sign_alg alg); /* new keys; a secret of 32 bytes */
void minter_done(struct minter *m);
/* What verifies it: the secret, or the PEM (owned by the caller). */
char *minter_material(const struct minter *m);
/* header and claims are JSON; the token is the caller's. */
char *minter_token(const struct minter *m, const char *header, const char *claims);

#endif
