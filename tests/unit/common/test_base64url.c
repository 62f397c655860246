/* base64url: RFC 4648 section 10, and that each byte string has one text only. */
#include <string.h>

#include "common/base64url.h"
#include "suite.h"

static bool decodes(const char *text, const char *bytes)
{
	char out[64];
	size_t n;

	return base64url_decode(text, strlen(text), out, sizeof(out), &n) && n == strlen(bytes) &&
	       !memcmp(out, bytes, n);
}

START_TEST(vectors)
{
	static const char *const t[][2] = {{"", ""},
					   {"f", "Zg"},
					   {"fo", "Zm8"},
					   {"foo", "Zm9v"},
					   {"foob", "Zm9vYg"},
					   {"fooba", "Zm9vYmE"},
					   {"foobar", "Zm9vYmFy"},
					   {"\xfb\xff\xbf", "-_-_"}};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		char text[16];
		struct strbuf b = {0};

		base64url_encode(t[i][0], strlen(t[i][0]), text);
		ck_assert_str_eq(text, t[i][1]);
		ck_assert_uint_eq(strlen(text), BASE64URL_LEN(strlen(t[i][0])));
		ck_assert(decodes(text, t[i][0]));
		strbuf_adds(&b, "x");
		base64url_add(&b, t[i][0], strlen(t[i][0]));
		ck_assert_str_eq(b.data + 1, t[i][1]);
		strbuf_done(&b);
	}
}
END_TEST

START_TEST(what_is_none)
{
	static const char *const bad[] = {
	    "Z",    "Zg==", "Zh",   "Zm9", "Zm8=",   "Zm9vY",  "Zm 9v",
	    "Zm9+", "Zm9/", "Zm9.", "\n",  "Zm9vYh", "Zm\x80v"};
	char out[4];
	size_t n;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(!decodes(bad[i], "f") && !decodes(bad[i], "fo") &&
				  !decodes(bad[i], "foo") && !decodes(bad[i], "foob"),
			      "%s", bad[i]);
	ck_assert(base64url_decode("Zm9vYg", 6, out, 4, &n) && n == 4);
	ck_assert(!base64url_decode("Zm9vYg", 6, out, 3, &n));
}
END_TEST

RUN_TESTS("common: base64url", vectors, what_is_none)
