/* Standard Webhooks: the specification's own example, and everything that must not pass. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/webhook.h"
#include "tests/unit/common/suite.h"

#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define ID     "msg_p5jXN8AQM9LWM0D4loKWxJek"
#define TIME   "1614265330"
#define NOW    1614265330
#define BODY   "{\"test\": 2432232314}"
#define SIGNED "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

static struct webhook_message message(void)
{
	return (struct webhook_message){ID, TIME, SIGNED, BODY, strlen(BODY)};
}

START_TEST(the_example)
{
	struct webhook_message m = message();
	char out[WEBHOOK_SIGNED_LEN + 1];
	ck_assert(webhook_sign(SECRET, &m, out));
	ck_assert_str_eq(out, SIGNED);
	ck_assert_int_eq(webhook_verify(SECRET, &m, NOW), WEBHOOK_GOOD);
	ck_assert_int_eq(webhook_verify(SECRET, &m, NOW + 300), WEBHOOK_GOOD);
	ck_assert_int_eq(webhook_verify(SECRET, &m, NOW - 300), WEBHOOK_GOOD);
	m.signature = "v1,xxxx v1a,yyy  " SIGNED " v1,z";
	ck_assert_int_eq(webhook_verify(SECRET, &m, NOW), WEBHOOK_GOOD);
}
END_TEST

START_TEST(not_good)
{
	struct webhook_message m = message();
	ck_assert_int_eq(webhook_verify(SECRET, &m, NOW + 301), WEBHOOK_STALE);
	ck_assert_int_eq(webhook_verify(SECRET, &m, NOW - 301), WEBHOOK_STALE);
	ck_assert_int_eq(webhook_verify("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &m, NOW),
			 WEBHOOK_BAD);
	ck_assert_int_eq(webhook_verify("whsec_", &m, NOW), WEBHOOK_BAD);
	m.body = "{\"test\": 2432232315}";
	ck_assert_int_eq(webhook_verify(SECRET, &m, NOW), WEBHOOK_BAD);
	m = message();
	m.id = "msg_other";
	ck_assert_int_eq(webhook_verify(SECRET, &m, NOW), WEBHOOK_BAD);
	m = message();
	m.timestamp = "1614265331";
	ck_assert_int_eq(webhook_verify(SECRET, &m, NOW), WEBHOOK_BAD);
	static const char *const signatures[] = {"",
						 " ",
						 "v1",
						 "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
						 "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
						 SIGNED "=",
						 "a b c d e f g h " SIGNED};
	m = message();
	for (size_t i = 0; i < sizeof(signatures) / sizeof(*signatures); i++) {
		m.signature = signatures[i];
		ck_assert_int_eq(webhook_verify(SECRET, &m, NOW), WEBHOOK_BAD);
	}
}
END_TEST

START_TEST(malformed)
{
	struct webhook_message m = message();
	static const char *const times[] = {
	    "", "-1614265330", "1614265330.0", " 1614265330", "now", "99999999999999999999"};
	static const char *const ids[] = {"", "a b", "a\n", "\xc3\xa9"};
	for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++) {
		m.timestamp = times[i];
		ck_assert_int_eq(webhook_verify(SECRET, &m, NOW), WEBHOOK_MALFORMED);
	}
	m = message();
	for (size_t i = 0; i < sizeof(ids) / sizeof(*ids); i++) {
		m.id = ids[i];
		ck_assert_int_eq(webhook_verify(SECRET, &m, NOW), WEBHOOK_MALFORMED);
	}
	char id[WEBHOOK_ID_MAX + 2];
	memset(id, 'x', sizeof(id));
	id[WEBHOOK_ID_MAX + 1] = '\0';
	m.id = id;
	ck_assert_int_eq(webhook_verify(SECRET, &m, NOW), WEBHOOK_MALFORMED);
	id[WEBHOOK_ID_MAX] = '\0';
	ck_assert_int_eq(webhook_verify(SECRET, &m, NOW), WEBHOOK_BAD);
	m = message();
	m.id = NULL;
	ck_assert_int_eq(webhook_verify(SECRET, &m, NOW), WEBHOOK_MALFORMED);
	m = message();
	m.signature = NULL;
	ck_assert_int_eq(webhook_verify(SECRET, &m, NOW), WEBHOOK_MALFORMED);
}
END_TEST

START_TEST(secrets)
{
	static const char *const bad[] = {"",
					  "whsec_",
					  "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
					  "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
					  "whsec_AAAA",
					  "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaL*Sw"};
	char a[WEBHOOK_SECRET_TEXT + 1], b[WEBHOOK_SECRET_TEXT + 1];
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(!webhook_secret_valid(bad[i]), "%s", bad[i]);
	ck_assert(webhook_secret_valid(SECRET));
	char longest[200] = "whsec_";
	memset(longest + 6, 'A', 88);
	memcpy(longest + 92, "==", 3);
	ck_assert(webhook_secret_valid(longest)); /* 64 bytes */
	memset(longest + 92, 'A', 4);
	ck_assert(!webhook_secret_valid(longest));
	webhook_secret_new(a);
	webhook_secret_new(b);
	ck_assert(webhook_secret_valid(a) && webhook_secret_valid(b));
	ck_assert_str_ne(a, b);
}
END_TEST

RUN_TESTS("webhook", the_example, not_good, malformed, secrets)
