/* Many writes through one system call. Where the kernel refuses an io_uring only that is tested. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "services/edge/sends.h"

struct pair {
	int out, in;
	ssize_t result;
	unsigned heard;
};

static struct pair pairs[SENDS_MAX];
static struct sends *sends;
static unsigned order;

static void on_done(void *who, ssize_t result)
{
	struct pair *p = who;

	ck_assert_ptr_eq(p, &pairs[order]);
	order++;
	p->result = result;
	p->heard++;
}

static void open_pairs(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		int fd[2];

		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
		pairs[i] = (struct pair){.out = fd[0], .in = fd[1], .result = 1 << 30};
	}
	order = 0;
}

static void close_pairs(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		close(pairs[i].out);
		close(pairs[i].in);
	}
}

/* Different pieces for each: what one gets tells whose it is. */
START_TEST(each_gets_its_own)
{
	char text[SENDS_MAX][16], got[64];

	open_pairs(SENDS_MAX);
	for (unsigned round = 0; round < 3; round++) {
		order = 0;
		for (unsigned i = 0; i < SENDS_MAX; i++) {
			int n = 1 + (int)i % SENDS_VECTORS;
			struct iovec iov[SENDS_VECTORS];

			snprintf(text[i], sizeof(text[i]), "%u.%03u,", round, i);
			for (int k = 0; k < n; k++)
				iov[k] = (struct iovec){text[i], 6};
			sends_add(sends, pairs[i].out, iov, n, &pairs[i]);
			memset(iov, 0, sizeof(iov)); /* the array is ours again */
		}
		ck_assert(sends_go(sends, on_done));
		for (unsigned i = 0; i < SENDS_MAX; i++) {
			ssize_t want = 6 * (1 + (ssize_t)i % SENDS_VECTORS);

			ck_assert_uint_eq(pairs[i].heard, round + 1);
			ck_assert_int_eq(pairs[i].result, want);
			ck_assert_int_eq(read(pairs[i].in, got, sizeof(got)), want);
			for (ssize_t at = 0; at < want; at += 6)
				ck_assert_mem_eq(got + at, text[i], 6);
		}
	}
	close_pairs(SENDS_MAX);
}
END_TEST

/* A full one does not hold up the others, and one whose reader is gone says so without a signal. */
START_TEST(each_has_its_own_end)
{
	static char much[8 << 20];
	struct iovec iov = {much, 5};

	open_pairs(4);
	while (write(pairs[1].out, much, sizeof(much)) > 0)
		;
	close(pairs[2].in);
	for (unsigned i = 0; i < 4; i++) {
		iov.iov_len = i == 3 ? sizeof(much) : 5;
		sends_add(sends, pairs[i].out, &iov, 1, &pairs[i]);
	}
	ck_assert(sends_go(sends, on_done));
	ck_assert_int_eq(pairs[0].result, 5);
	ck_assert_int_eq(pairs[1].result, -EAGAIN);
	ck_assert_int_eq(pairs[2].result, -EPIPE);
	ck_assert_int_gt(pairs[3].result, 0); /* a part of it */
	ck_assert_int_lt(pairs[3].result, (ssize_t)sizeof(much));
	close_pairs(4);
}
END_TEST

static void refuse(unsigned call)
{
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(*code), code};

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

/* Refused after it was made, as by a policy that comes later: nothing was written, and all hear. */
START_TEST(refused_later)
{
	struct iovec iov = {"hello", 5};

	open_pairs(2);
	refuse(SYS_io_uring_enter);
	for (unsigned i = 0; i < 2; i++)
		sends_add(sends, pairs[i].out, &iov, 1, &pairs[i]);
	ck_assert(!sends_go(sends, on_done));
	for (unsigned i = 0; i < 2; i++) {
		char got[8];

		ck_assert_int_eq(pairs[i].result, -EINTR);
		ck_assert_int_eq(read(pairs[i].in, got, sizeof(got)), -1);
	}
	close_pairs(2);
}
END_TEST

START_TEST(refused_at_once)
{
	struct error err;

	refuse(SYS_io_uring_setup);
	ck_assert_ptr_null(sends_new(&err));
	ck_assert_ptr_nonnull(strstr(err.msg, "not permitted"));
}
END_TEST

static void set_up(void)
{
	struct error err;

	sends = sends_new(&err);
	ck_assert_msg(sends != NULL, "%s", err.msg);
}

static void tear_down(void)
{
	sends_free(sends);
}

static bool there(void)
{
	struct error err;
	struct sends *s = sends_new(&err);

	if (!s)
		printf("not tested: %s\n", err.msg);
	sends_free(s);
	return s != NULL;
}

int main(void)
{
	Suite *s = suite_create("edge: batches of writes");
	TCase *with = tcase_create("with"), *without = tcase_create("without");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(with, set_up, tear_down);
	tcase_add_test(with, each_gets_its_own);
	tcase_add_test(with, each_has_its_own_end);
	tcase_add_test(with, refused_later);
	tcase_add_test(without, refused_at_once);
	if (there())
		suite_add_tcase(s, with);
	suite_add_tcase(s, without);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
