/* Connections whose request does not come in time: who is cut off, and when. */
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "services/edge/http_peers.h"
#include "tests/unit/common/suite.h"

#define PATIENCE 100

static struct peers peers;
static struct peer *peer[3];
static int ours[3], theirs[3];

static bool was_cut_off(int i)
{
	struct pollfd p = {.fd = theirs[i], .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void setup(void)
{
	peers_init(&peers, PATIENCE);
	for (int i = 0; i < 3; i++) {
		int pair[2];

		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		ours[i] = pair[0];
		theirs[i] = pair[1];
		peer[i] = peer_open(&peers, ours[i], 10 * i);
	}
}

static void teardown(void)
{
	for (int i = 0; i < 3; i++) {
		peer_close(&peers, peer[i]);
		close(ours[i]);
		close(theirs[i]);
	}
	ck_assert(!peers.first && !peers.last);
	peer_close(&peers, NULL);
	peers_done(&peers);
}

START_TEST(one_after_the_other)
{
	setup();
	ck_assert_uint_eq(peers_sweep(&peers, PATIENCE - 1), 0);
	ck_assert_uint_eq(peers_sweep(&peers, PATIENCE + 10), 2);
	ck_assert(was_cut_off(0) && was_cut_off(1) && !was_cut_off(2));
	ck_assert_uint_eq(peers_sweep(&peers, PATIENCE + 19), 0);
	ck_assert_uint_eq(peers_sweep(&peers, PATIENCE + 20), 1);
	ck_assert_uint_eq(peers_sweep(&peers, 10 * PATIENCE), 0);
	teardown();
}
END_TEST

START_TEST(anew_and_no_more)
{
	setup();
	peer_wait(&peers, peer[0], 50);
	peer_stop(&peers, peer[1]);
	peer_stop(&peers, peer[1]);
	ck_assert_uint_eq(peers_sweep(&peers, PATIENCE + 49), 1);
	ck_assert(!was_cut_off(0) && !was_cut_off(1) && was_cut_off(2));
	peer_wait(&peers, peer[1], 200);
	ck_assert_uint_eq(peers_sweep(&peers, PATIENCE + 50), 1);
	ck_assert(was_cut_off(0));
	ck_assert_uint_eq(peers_sweep(&peers, PATIENCE + 200), 1);
	ck_assert(was_cut_off(1));
	teardown();
}
END_TEST

/* Each place of the list may be the one that goes. */
START_TEST(any_of_them_may_go)
{
	for (int gone = 0; gone < 3; gone++) {
		setup();
		peer_close(&peers, peer[gone]);
		peer[gone] = NULL;
		ck_assert_uint_eq(peers_sweep(&peers, 10 * PATIENCE), 2);
		ck_assert(!was_cut_off(gone));
		teardown();
	}
}
END_TEST

RUN_TESTS("edge: slow requests", one_after_the_other, anew_and_no_more, any_of_them_may_go)
