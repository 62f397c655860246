#include "services/orchestrator-worker/jqbox.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/strbuf.h"
#include "services/orchestrator-worker/jqbox_helper.h"
#include "services/orchestrator-worker/turns.h"

#define POLL_US     20000
#define SUSPECT_MS  100 /* of processor time: its program is run aside from now on */
#define WALL_FACTOR 10
#define SENT_MAX    32 /* runs that one helper holds */
#define SENT_BYTES  (1 << 20)
#define SUSPECTS    256
#define TRIES_MAX   4 /* a run whose helper died that often, by nobody's fault, is given up */
#define ENDS_MAX    33

struct jqbox_run {
	struct turn turn; /* first: a turn is its run; of the suspects */
	struct jqbox_run *next, *prev;
	struct jqbox *box;
	struct end *end; /* that it was sent to, or NULL */
	uint64_t id;     /* of this sending */
	uint64_t hash;
	unsigned tries;
	enum jqbox_code code; /* in `refused` */
	jqbox_fn *fn;         /* NULL: cancelled after it was sent */
	void *arg;
	size_t program_len, input_len;
	char bytes[]; /* program, input, owner and NUL */
};

struct runs {
	struct jqbox_run *first, *last;
	size_t count;
};

/* A helper, seen from here. */
struct end {
	struct jqbox *box;
	struct loop_io io;
	struct jqbox_page *page; /* NULL: no helper yet */
	bool watching;           /* io is in the loop */
	struct runs sent;
	size_t sent_bytes;
	struct strbuf out, in;
	uint64_t seen; /* the run that the last look found running … */
	int64_t seen_cpu_us, seen_at_us;
	bool stuck; /* … and that it has kept the helper for too long already */
};

struct jqbox {
	struct jqbox_conf conf;
	struct loop *loop;
	int control; /* to the nursery; -1: it is gone */
	pid_t nursery;
	uint64_t next_id;
	struct end ends[ENDS_MAX]; /* [conf.helpers]: for the suspects */
	struct runs queue, refused;
	struct turns *suspects;
	size_t suspects_bytes;      /* of those that wait */
	uint64_t suspect[SUSPECTS]; /* hashes of programs, a ring */
	size_t suspect_count;       /* ever */
	struct timer work, look;
	struct jqbox_stats stats;
};

static const char *const names[] = {"ok",      "syntax",    "error", "time", "memory",
				    "crashed", "too_large", "busy",  "lost"};

const char *jqbox_code_name(enum jqbox_code code)
{
	return names[code];
}

/* --- lists --------------------------------------------------------------------------------- */

static void push(struct runs *list, struct jqbox_run *run, bool front)
{
	struct jqbox_run *at = front ? NULL : list->last;
	run->prev = at;
	run->next = at != NULL ? at->next : list->first;
	*(run->prev != NULL ? &run->prev->next : &list->first) = run;
	*(run->next != NULL ? &run->next->prev : &list->last) = run;
	list->count++;
}

static void take(struct runs *list, struct jqbox_run *run)
{
	*(run->prev != NULL ? &run->prev->next : &list->first) = run->next;
	*(run->next != NULL ? &run->next->prev : &list->last) = run->prev;
	list->count--;
}

static size_t size_of(const struct jqbox_run *run)
{
	return run->program_len + run->input_len;
}

/* Waits or runs aside no longer; fine if it did neither. */
static void leave_suspects(struct jqbox_run *run)
{
	if (run->turn.of != NULL && !run->turn.running)
		run->box->suspects_bytes -= size_of(run);
	turns_leave(run->box->suspects, &run->turn);
}

static void join_suspects(struct jqbox_run *run)
{
	const char *owner = run->bytes + size_of(run);
	turns_add(run->box->suspects, &run->turn, owner, 1, false);
	run->box->suspects_bytes += size_of(run);
}

static void forget(struct jqbox_run *run)
{
	leave_suspects(run);
	run->box->stats.queued--;
	run->box->stats.bytes -= size_of(run);
	free(run);
}

static void give(struct jqbox_run *run, enum jqbox_code code, const char *text, size_t len,
		 int64_t run_us)
{
	struct jqbox_result result = {.code = code, .text = text, .len = len, .run_us = run_us};
	jqbox_fn *fn = run->fn;
	void *arg = run->arg;
	forget(run);
	if (fn != NULL)
		fn(arg, &result);
}

static void give_words(struct jqbox_run *run, enum jqbox_code code)
{
	static const char *const words[] = {
	    [JQBOX_TIME] = "the program took too long",
	    [JQBOX_MEMORY] = "the program used too much memory",
	    [JQBOX_CRASHED] = "the program crashed: too deep a recursion?",
	    [JQBOX_BUSY] = "too many programs are waiting",
	    [JQBOX_LOST] = "programs cannot be run",
	};
	give(run, code, words[code], strlen(words[code]), 0);
}

/* --- suspects ------------------------------------------------------------------------------ */

static bool suspected(const struct jqbox *box, uint64_t hash)
{
	size_t n = box->suspect_count < SUSPECTS ? box->suspect_count : SUSPECTS;
	for (size_t i = 0; i < n; i++)
		if (box->suspect[i] == hash)
			return true;
	return false;
}

static void suspect(struct jqbox *box, uint64_t hash)
{
	if (!suspected(box, hash))
		box->suspect[box->suspect_count++ % SUSPECTS] = hash;
}

static uint64_t hash_of(const char *text, size_t len)
{
	uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */
	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)text[i]) * UINT64_C(1099511628211);
	return h;
}

/* --- births and deaths --------------------------------------------------------------------- */

static int order(struct jqbox *box, const struct jqbox_order *what, const int fds[2])
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} u;
	struct iovec iov = {.iov_base = (void *)what, .iov_len = sizeof(*what)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	if (fds != NULL) {
		memset(&u, 0, sizeof(u));
		msg.msg_control = u.space;
		msg.msg_controllen = sizeof(u.space);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(2 * sizeof(int));
		memcpy(CMSG_DATA(c), fds, 2 * sizeof(int));
	}
	ssize_t n;
	do
		n = sendmsg(box->control, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(*what) ? 0 : -1;
}

/* Everything of the helper but the runs that were sent to it. */
static void end_close(struct end *end)
{
	if (end->watching)
		loop_io_del(end->box->loop, &end->io);
	end->watching = false;
	if (end->io.fd >= 0)
		close(end->io.fd);
	end->io.fd = -1;
	if (end->page != NULL)
		munmap(end->page, sizeof(*end->page));
	end->page = NULL;
	strbuf_done(&end->out);
	strbuf_done(&end->in);
	end->seen = 0;
	end->stuck = false;
}

static void on_io(struct loop_io *io, uint32_t events, void *arg);

static int end_open(struct end *end)
{
	struct jqbox *box = end->box;
	int pair[2] = {-1, -1}, page = memfd_create("penstock-jq", MFD_CLOEXEC);
	struct error err;
	if (page < 0 || ftruncate(page, sizeof(*end->page)) != 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		goto fail;
	end->io = (struct loop_io){.fd = pair[0], .events = EPOLLIN, .fn = on_io, .arg = end};
	end->page = mmap(NULL, sizeof(*end->page), PROT_READ | PROT_WRITE, MAP_SHARED, page, 0);
	if (end->page == MAP_FAILED) {
		end->page = NULL;
		goto fail;
	}
	struct jqbox_order birth = {.slot = (uint32_t)(end - box->ends)};
	if (fcntl(pair[0], F_SETFL, O_NONBLOCK) != 0 ||
	    order(box, &birth, (int[]){pair[1], page}) != 0 ||
	    loop_io_add(box->loop, &end->io, &err))
		goto fail;
	end->watching = true;
	close(pair[1]);
	close(page);
	return 0;
fail:
	if (pair[1] >= 0)
		close(pair[1]);
	if (page >= 0)
		close(page);
	end_close(end);
	return -1;
}

static void want_work(struct jqbox *box)
{
	if (!timer_armed(&box->work))
		timer_set(box->loop, &box->work, 0);
}

static void again(struct jqbox *box, struct jqbox_run *run)
{
	run->end = NULL;
	leave_suspects(run);
	if (run->fn == NULL)
		forget(run);
	else if (suspected(box, run->hash))
		join_suspects(run);
	else
		push(&box->queue, run, true);
}

/* Puts the runs of this helper back in the queue, in their order, but for the one with that id,
 * which is returned (NULL: none such) and whose program is suspected from now on: in others of
 * them, too. */
static struct jqbox_run *recall(struct end *end, uint64_t blamed)
{
	struct jqbox_run *found = end->sent.first;
	while (found != NULL && found->id != blamed)
		found = found->next;
	if (found != NULL) {
		take(&end->sent, found);
		suspect(end->box, found->hash);
	}
	for (struct jqbox_run *run; (run = end->sent.last) != NULL;) {
		take(&end->sent, run);
		again(end->box, run);
	}
	end->sent_bytes = 0;
	want_work(end->box);
	return found;
}

/* The helper is dead, or dies now: whoever was running pays, the others are done again. */
static void end_lost(struct end *end, enum jqbox_code code)
{
	struct jqbox *box = end->box;
	uint64_t running = end->page != NULL ? atomic_load(&end->page->running) : 0;
	if (code == JQBOX_CRASHED && end->page != NULL && atomic_load(&end->page->nomem) != 0)
		code = JQBOX_MEMORY;
	struct jqbox_order death = {.slot = (uint32_t)(end - box->ends), .kill = 1};
	order(box, &death, NULL);
	end_close(end);
	box->stats.killed++;
	if (running == 0)
		for (struct jqbox_run *run = end->sent.first; run != NULL; run = run->next)
			if (++run->tries >= TRIES_MAX)
				running = run->id;
	struct jqbox_run *blamed = recall(end, running);
	if (blamed != NULL)
		give_words(blamed, code);
}

/* --- sending ------------------------------------------------------------------------------- */

static void end_write(struct end *end)
{
	struct error err;
	while (end->out.len > 0) {
		ssize_t n = send(end->io.fd, end->out.data, end->out.len, MSG_NOSIGNAL);
		if (n > 0)
			strbuf_consume(&end->out, (size_t)n);
		else if (errno == EAGAIN)
			break;
		else if (errno != EINTR)
			return; /* its end is read, too: on_io() finds out */
	}
	uint32_t events = end->out.len > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN;
	if (events != end->io.events && loop_io_mod(end->box->loop, &end->io, events, &err))
		log_at(LOG_ERROR, "jq helper", LOG_S("error", err.msg));
}

static void end_send(struct end *end, struct jqbox_run *run)
{
	struct jqbox_ask ask = {.id = run->id = end->box->next_id++,
				.program_len = (uint32_t)run->program_len,
				.input_len = (uint32_t)run->input_len};
	strbuf_add(&end->out, &ask, sizeof(ask));
	strbuf_add(&end->out, run->bytes, size_of(run));
	run->end = end;
	push(&end->sent, run, false);
	end->sent_bytes += size_of(run);
}

static bool has_room(const struct end *end, const struct jqbox_run *run)
{
	return !end->stuck && end->sent.count < SENT_MAX &&
	       (end->sent.count == 0 || end->sent_bytes + size_of(run) <= SENT_BYTES);
}

/* The suspects' helper is needed by everyone. */
static bool all_stuck(const struct jqbox *box)
{
	for (size_t i = 0; i < box->conf.helpers; i++)
		if (!box->ends[i].stuck)
			return false;
	return true;
}

/* The helper with the least to do. While all are stuck the suspects' own serves everyone, and
 * suspects wait. */
static struct end *choose(struct jqbox *box, const struct jqbox_run *run, bool suspicious)
{
	struct end *aside = &box->ends[box->conf.helpers], *best = NULL;
	bool stuck = all_stuck(box);
	if (suspicious) /* one at a time: the next one is whose turn it is then */
		return !stuck && aside->sent.count == 0 && !aside->stuck ? aside : NULL;
	if (stuck)
		return has_room(aside, run) ? aside : NULL;
	for (size_t i = 0; i < box->conf.helpers; i++) {
		struct end *end = &box->ends[i];
		if (has_room(end, run) && (best == NULL || end->sent.count < best->sent.count))
			best = end;
	}
	return best;
}

/* The next one that waits, taken; NULL: none. */
static struct jqbox_run *take_next(struct jqbox *box, bool suspicious)
{
	struct jqbox_run *run =
	    suspicious ? (struct jqbox_run *)turns_first(box->suspects) : box->queue.first;
	if (run == NULL)
		return NULL;
	if (!suspicious)
		take(&box->queue, run);
	else
		leave_suspects(run);
	return run;
}

static void refuse_all(struct jqbox *box, bool suspicious)
{
	for (struct jqbox_run *run; (run = take_next(box, suspicious)) != NULL;) {
		run->code = JQBOX_LOST;
		push(&box->refused, run, false);
	}
}

/* A helper that is there, for this run; NULL: none now. */
static struct end *place(struct jqbox *box, const struct jqbox_run *run, bool suspicious)
{
	struct end *end = choose(box, run, suspicious);
	if (end != NULL && end->page == NULL && end_open(end) != 0) {
		box->stats.lost = true;
		refuse_all(box, suspicious);
		return NULL;
	}
	return end;
}

static void dispatch(struct jqbox *box)
{
	for (struct jqbox_run *run; (run = box->queue.first) != NULL;) {
		struct end *end = NULL;
		bool suspicious = suspected(box, run->hash);
		if (!suspicious && (end = place(box, run, false)) == NULL)
			return;
		take(&box->queue, run);
		if (suspicious)
			join_suspects(run);
		else
			end_send(end, run);
	}
}

static void dispatch_suspects(struct jqbox *box)
{
	for (struct turn *turn; (turn = turns_first(box->suspects)) != NULL;) {
		struct jqbox_run *run = (struct jqbox_run *)turn;
		struct end *end = place(box, run, true);
		if (end == NULL)
			return;
		box->suspects_bytes -= size_of(run);
		turns_start(box->suspects, turn, 1);
		end_send(end, run);
	}
}

static void on_work(struct timer *timer, void *arg)
{
	(void)timer;
	struct jqbox *box = arg;
	dispatch(box);
	dispatch_suspects(box);
	bool busy = false;
	for (size_t i = 0; i <= box->conf.helpers; i++) {
		if (box->ends[i].out.len > 0)
			end_write(&box->ends[i]);
		busy |= box->ends[i].sent.count > 0;
	}
	if (busy && !timer_armed(&box->look))
		timer_set(box->loop, &box->look, POLL_US);
	for (size_t n = box->refused.count; n > 0 && box->refused.first != NULL; n--) {
		struct jqbox_run *run = box->refused.first;
		take(&box->refused, run);
		give_words(run, run->code);
	}
	if (box->refused.count > 0)
		want_work(box);
}

/* --- answers ------------------------------------------------------------------------------- */

static void answered(struct end *end, const struct jqbox_answer *a, char *text)
{
	struct jqbox_run *run = end->sent.first;
	while (run != NULL && run->id != a->id)
		run = run->next;
	if (run == NULL)
		return; /* it was recalled */
	take(&end->sent, run);
	end->sent_bytes -= size_of(run);
	end->stuck = false;
	char next = text[a->len]; /* the buffer's own NUL, or the first byte of the next answer */
	text[a->len] = '\0';
	give(run, (enum jqbox_code)a->code, text, a->len, a->run_us);
	text[a->len] = next;
}

static void read_answers(struct end *end)
{
	struct jqbox_answer a;
	size_t at = 0;
	/* A callback may cancel runs, but never ends a helper: `in` stays. */
	while (end->in.len - at >= sizeof(a)) {
		memcpy(&a, end->in.data + at, sizeof(a));
		if (end->in.len - at - sizeof(a) < a.len)
			break;
		answered(end, &a, end->in.data + at + sizeof(a));
		at += sizeof(a) + a.len;
	}
	if (at > 0)
		strbuf_consume(&end->in, at);
}

static void on_io(struct loop_io *io, uint32_t events, void *arg)
{
	(void)io;
	struct end *end = arg;
	if ((events & EPOLLOUT) != 0)
		end_write(end);
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0)
		return;
	strbuf_reserve(&end->in, 65536);
	ssize_t n = read(end->io.fd, end->in.data + end->in.len, end->in.cap - end->in.len - 1);
	if (n > 0) {
		end->in.len += (size_t)n;
		read_answers(end);
		want_work(end->box);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		log_at(LOG_WARN, "jq helper died");
		end_lost(end, JQBOX_CRASHED);
	}
}

/* --- the budget ---------------------------------------------------------------------------- */

static int64_t cpu_us(const struct jqbox_page *page)
{
	clockid_t clock;
	struct timespec t;
	pid_t pid = (pid_t)atomic_load(&page->pid);
	if (pid == 0 || clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
		return 0;
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void stick(struct end *end, uint64_t running)
{
	end->stuck = true;
	struct jqbox_run *slow = recall(end, running);
	if (slow == NULL) { /* cancelled meanwhile: it may end in peace, or at its budget */
		atomic_store(&end->page->skip, end->box->next_id);
		return;
	}
	push(&end->sent, slow, false);
	end->sent_bytes = size_of(slow);
	atomic_store(&end->page->skip, end->box->next_id);
}

static void end_look(struct end *end)
{
	struct jqbox *box = end->box;
	uint64_t running = atomic_load(&end->page->running);
	int64_t cpu = cpu_us(end->page), now = loop_now_us(box->loop);
	if (running == 0 || running != end->seen) {
		end->seen = running;
		end->seen_cpu_us = cpu;
		end->seen_at_us = now;
		end->stuck = false;
		return;
	}
	int64_t used = cpu - end->seen_cpu_us, budget = box->conf.budget_ms * 1000;
	if (used >= budget || now - end->seen_at_us >= budget * WALL_FACTOR)
		end_lost(end, JQBOX_TIME);
	else if (!end->stuck && used >= SUSPECT_MS * 1000)
		stick(end, running);
}

static void on_look(struct timer *timer, void *arg)
{
	struct jqbox *box = arg;
	bool busy = false;
	for (size_t i = 0; i <= box->conf.helpers; i++) {
		struct end *end = &box->ends[i];
		if (end->page != NULL && (end->sent.count > 0 || end->stuck))
			end_look(end);
		busy |= end->sent.count > 0 || end->stuck;
	}
	if (busy)
		timer_set(box->loop, timer, POLL_US);
	want_work(box);
}

/* --- the calls ----------------------------------------------------------------------------- */

struct jqbox *jqbox_new(const struct jqbox_conf *conf, struct error *err)
{
	assert(conf->helpers > 0 && conf->helpers < ENDS_MAX);
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
		err_set(err, ERR_FATAL, "socketpair: %s", strerror(errno));
		return NULL;
	}
	struct jqbox_limits limits = {.memory_mb = conf->memory_mb,
				      .output_max = conf->output_max,
				      .programs = conf->programs};
	pid_t parent = getpid(), pid = fork();
	if (pid == 0)
		jqbox_nursery(pair[1], parent, &limits);
	close(pair[1]);
	if (pid < 0) {
		err_set(err, ERR_FATAL, "fork: %s", strerror(errno));
		close(pair[0]);
		return NULL;
	}
	struct jqbox *box = xcalloc(1, sizeof(*box));
	*box = (struct jqbox){.conf = *conf, .control = pair[0], .nursery = pid, .next_id = 1};
	for (size_t i = 0; i <= conf->helpers; i++) {
		box->ends[i].box = box;
		box->ends[i].io.fd = -1;
	}
	box->suspects = turns_new(TURNS_UNBOUNDED);
	timer_init(&box->work, on_work, box);
	timer_init(&box->look, on_look, box);
	return box;
}

void jqbox_attach(struct jqbox *box, struct loop *loop)
{
	box->loop = loop;
}

static void drop_all(struct runs *list)
{
	for (struct jqbox_run *run; (run = list->first) != NULL;) {
		take(list, run);
		forget(run);
	}
}

void jqbox_free(struct jqbox *box)
{
	if (box == NULL)
		return;
	for (size_t i = 0; i <= box->conf.helpers; i++) {
		end_close(&box->ends[i]);
		drop_all(&box->ends[i].sent);
	}
	for (struct jqbox_run *run; (run = take_next(box, true)) != NULL;)
		forget(run);
	drop_all(&box->queue);
	drop_all(&box->refused);
	turns_free(box->suspects);
	if (box->loop != NULL) {
		timer_cancel(box->loop, &box->work);
		timer_cancel(box->loop, &box->look);
	}
	close(box->control); /* the nursery kills its children and goes */
	waitpid(box->nursery, NULL, 0);
	free(box);
}

static bool has_place(struct jqbox *box, const char *owner, bool suspicious, size_t bytes)
{
	const struct jqbox_conf *c = &box->conf;
	if (box->stats.queued >= c->queue_max || box->stats.bytes + bytes > c->queue_bytes)
		return false;
	return !suspicious || (turns_may_wait(box->suspects, owner, c->queue_max / 2) &&
			       box->suspects_bytes + bytes <= c->queue_bytes / 2);
}

struct jqbox_run *jqbox_eval(struct jqbox *box, const char *owner, const char *program,
			     const char *input, size_t len, jqbox_fn *fn, void *arg)
{
	size_t program_len = strlen(program), owner_len = strlen(owner) + 1;
	uint64_t hash = hash_of(program, program_len);
	bool suspicious = suspected(box, hash);
	bool full = !has_place(box, owner, suspicious, program_len + len);
	size_t keep = full ? 0 : program_len + len;
	struct jqbox_run *run = xmalloc(sizeof(*run) + keep + owner_len);
	*run = (struct jqbox_run){.box = box, .fn = fn, .arg = arg};
	box->stats.queued++;
	if (full) {
		box->stats.refused++;
		run->code = JQBOX_BUSY;
		push(&box->refused, run, false);
	} else {
		run->program_len = program_len;
		run->input_len = len;
		memcpy(run->bytes, program, program_len);
		memcpy(run->bytes + program_len, input, len);
		memcpy(run->bytes + keep, owner, owner_len);
		run->hash = hash;
		box->stats.bytes += keep;
		if (suspicious)
			join_suspects(run);
		else
			push(&box->queue, run, false);
	}
	want_work(box);
	return run;
}

void jqbox_cancel(struct jqbox_run *run)
{
	if (run->end != NULL) {
		run->fn = NULL; /* its answer will come, or its helper be replaced */
		return;
	}
	struct jqbox *box = run->box;
	if (run->turn.of != NULL) {
		forget(run);
		return;
	}
	struct runs *lists[] = {&box->queue, &box->refused};
	for (size_t i = 0; i < 2; i++) {
		for (struct jqbox_run *at = lists[i]->first; at != NULL; at = at->next) {
			if (at == run) {
				take(lists[i], run);
				forget(run);
				return;
			}
		}
	}
	assert(!"a run that is not in any list");
}

void jqbox_stats(const struct jqbox *box, struct jqbox_stats *stats)
{
	*stats = box->stats;
}
