/* How the load generator reads what servers say. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/common/suite.h"
#include "tools/load/dialect.h"
#include "tools/load/watch.h"

static enum said read_one(const struct dialect *d, const char *text, size_t *used, struct heard *h)
{
	*used = d->read(NULL, text, strlen(text), h);
	return h->what;
}

START_TEST(nats_frame_of_many)
{
	const char *at =
	    "MSG a.b 1 5\r\nhello\r\nMSG a.b 1 reply 2\r\n\r\n\r\nPONG\r\n-ERR 'x'\r\n";
	struct heard h;
	size_t n;

	ck_assert_int_eq(read_one(&dialect_nats, at, &n, &h), SAID_EVENT);
	ck_assert(h.len == 5 && !memcmp(h.text, "hello", 5));
	at += n;
	ck_assert_int_eq(read_one(&dialect_nats, at, &n, &h), SAID_EVENT);
	ck_assert(h.len == 2 && !memcmp(h.text, "\r\n", 2));
	at += n;
	ck_assert_int_eq(read_one(&dialect_nats, at, &n, &h), SAID_READY);
	at += n;
	ck_assert_int_eq(read_one(&dialect_nats, at, &n, &h), SAID_REFUSED);
	ck_assert_uint_eq(n, strlen(at));
}
END_TEST

START_TEST(nats_frame_that_lies)
{
	static const char *const bad[] = {
	    "MSG a 1 6\r\nhello\r\n", "MSG a 1 18446744073709551615\r\nx\r\n", "MSG a 1 1", "\r"};
	struct heard h;
	size_t n;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		ck_assert_int_eq(read_one(&dialect_nats, bad[i], &n, &h), SAID_BAD);
		ck_assert_uint_eq(n, strlen(bad[i]));
	}
}
END_TEST

START_TEST(penstock_and_nchan)
{
	struct heard h;
	size_t n;

	ck_assert_int_eq(read_one(&dialect_penstock, "{\"op\":\"event\",\"x\":1}", &n, &h),
			 SAID_EVENT);
	ck_assert_int_eq(read_one(&dialect_penstock, "{\"op\":\"accepted\"}", &n, &h), SAID_ANSWER);
	ck_assert_int_eq(read_one(&dialect_penstock, "{\"op\":\"subscribed\"}", &n, &h),
			 SAID_READY);
	ck_assert_int_eq(read_one(&dialect_penstock, "{\"op\":\"gap\"}", &n, &h), SAID_REFUSED);
	ck_assert_int_eq(read_one(&dialect_nchan, "{\"t\":1}", &n, &h), SAID_EVENT);
	ck_assert_int_eq(read_one(&dialect_nchan, "queued messages: 0", &n, &h), SAID_ANSWER);
	ck_assert_ptr_null(dialect_named("carrier pigeon"));
}
END_TEST

START_TEST(watch_of_itself)
{
	struct watch w;
	struct usage from, to;
	struct strbuf out = {0};
	struct error err;
	char spec[64];

	/* Whose memory is read twice must be still: reading takes some itself. */
	pid_t quiet = fork();
	if (!quiet) {
		raise(SIGSTOP);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(quiet, NULL, WUNTRACED), quiet);
	snprintf(spec, sizeof(spec), "quiet=%d,gone=%d+%d", quiet, quiet, 1 << 30);
	ck_assert_int_eq(watch_init(&w, spec, &err), 0);
	watch_read(&w, &from);
	kill(quiet, SIGKILL);
	ck_assert_int_eq(waitpid(quiet, NULL, 0), quiet);
	ck_assert(from.bytes[0] > 0 && from.bytes[1] == from.bytes[0]);
	snprintf(spec, sizeof(spec), "self=%d", getpid());
	ck_assert_int_eq(watch_init(&w, spec, &err), 0);
	watch_read(&w, &from);
	do
		watch_read(&w, &to);
	while (to.cpu_s[0] - from.cpu_s[0] < 0.02);
	watch_write_cpu(&w, &from, &to, &out);
	ck_assert_ptr_nonnull(strstr(strbuf_str(&out), "{\"self\":0.0"));
	ck_assert_int_eq(watch_init(&w, NULL, &err), 0);
	ck_assert_int_ne(watch_init(&w, "edge", &err), 0);
	ck_assert_int_ne(watch_init(&w, "edge=12+", &err), 0);
	ck_assert_int_ne(watch_init(&w, "edge=x", &err), 0);
	strbuf_done(&out);
}
END_TEST

RUN_TESTS("dialect", nats_frame_of_many, nats_frame_that_lies, penstock_and_nchan, watch_of_itself)
