/* docs/states.md says what saga_states.c does, and the tests beside this one do what both say. */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/common/suite.h"
#include "tests/unit/orchestrator-worker/saga_rig.h"

static bool said[MACHINES][RIG_STATES], arrow[MACHINES][RIG_STATES][RIG_STATES];
static bool taken[MACHINES][RIG_STATES][RIG_STATES];

static unsigned state_of(enum saga_machine machine, const char *name)
{
	for (unsigned i = 0; saga_state_name(machine, i) != NULL; i++)
		if (strcmp(saga_state_name(machine, i), name) == 0)
			return i;
	ck_abort_msg("docs/states.md: %s is no state", name);
	return 0;
}

/* "| NAME | words | NEXT, NEXT |" */
static void take_row(enum saga_machine machine, char *line)
{
	char *at = line, *cell[4];
	for (int i = 0; i < 4; i++)
		cell[i] = strsep(&at, "|");
	ck_assert_ptr_nonnull(cell[3]);
	unsigned from = state_of(machine, strtok(cell[1], " "));
	ck_assert(!said[machine][from]);
	said[machine][from] = true;
	for (char *to = strtok(cell[3], ", "); to != NULL; to = strtok(NULL, ", "))
		if (to[0] >= 'A' && to[0] <= 'Z')
			arrow[machine][from][state_of(machine, to)] = true;
}

static void take_page(void)
{
	FILE *f = fopen("docs/states.md", "r");
	char *line = NULL;
	size_t size = 0;
	int machine = -1;
	ck_assert_msg(f != NULL, "docs/states.md is not there");
	while (getline(&line, &size, f) > 0) {
		if (strncmp(line, "## ", 3) == 0)
			machine++;
		else if (line[0] == '|' && line[2] >= 'A' && line[2] <= 'Z')
			take_row((enum saga_machine)machine, line);
	}
	ck_assert_int_eq(machine, MACHINES - 1);
	free(line);
	fclose(f);
}

START_TEST(page_and_table)
{
	take_page();
	for (enum saga_machine m = 0; m < MACHINES; m++) {
		for (unsigned from = 0; saga_state_name(m, from) != NULL; from++) {
			ck_assert_msg(said[m][from], "%s is not there", saga_state_name(m, from));
			for (unsigned to = 0; saga_state_name(m, to) != NULL; to++)
				ck_assert_msg(arrow[m][from][to] == saga_follows(m, from, to),
					      "%s, then %s", saga_state_name(m, from),
					      saga_state_name(m, to));
		}
	}
}
END_TEST

/* One program of tests, with its transitions in the file. */
static void run(const char *program, const char *path)
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		if (setenv("SAGA_ARROWS", path, 1) != 0 || !freopen("/dev/null", "w", stdout))
			_exit(126);
		execl(program, program, (char *)NULL);
		_exit(127);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "%s fails by itself", program);
}

/* The programs that are built beside this one, from test_saga*.c. */
static size_t run_neighbours(const char *path)
{
	char self[1000], pattern[1100];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	size_t n = 0;
	glob_t found;

	ck_assert_int_gt(len, 0);
	self[len] = '\0';
	snprintf(pattern, sizeof(pattern), "%.*s/test_saga*", (int)(strrchr(self, '/') - self),
		 self);
	ck_assert_int_eq(glob(pattern, 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		const char *name = strrchr(found.gl_pathv[i], '/');
		if (strchr(name, '.') != NULL || strcmp(found.gl_pathv[i], self) == 0)
			continue; /* an object, or this one */
		run(found.gl_pathv[i], path);
		n++;
	}
	globfree(&found);
	return n;
}

static void take_transitions(const char *path)
{
	FILE *f = fopen(path, "r");
	unsigned machine, from, to;

	ck_assert_ptr_nonnull(f);
	while (fscanf(f, "%u %u %u", &machine, &from, &to) == 3)
		taken[machine][from][to] = true;
	fclose(f);
}

START_TEST(each_arrow_is_taken_by_a_test)
{
	char path[] = "/tmp/penstock-arrows-XXXXXX";
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	close(fd);
	size_t n = run_neighbours(path);
	take_transitions(path);
	unlink(path);
	ck_assert_uint_gt(n, 0);
	for (enum saga_machine m = 0; m < MACHINES; m++)
		for (unsigned from = 0; saga_state_name(m, from) != NULL; from++)
			for (unsigned to = 0; saga_state_name(m, to) != NULL; to++)
				ck_assert_msg(taken[m][from][to] || !saga_follows(m, from, to),
					      "no test goes from %s to %s",
					      saga_state_name(m, from), saga_state_name(m, to));
}
END_TEST

RUN_TESTS("saga_states", page_and_table, each_arrow_is_taken_by_a_test)
