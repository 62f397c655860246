/* docs/states.md says what saga_states.c does. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "services/orchestrator-worker/saga.h"

#define STATES_MAX 32

static bool said[MACHINES][STATES_MAX], arrow[MACHINES][STATES_MAX][STATES_MAX];

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

int main(void)
{
	Suite *suite = suite_create("saga_states");
	TCase *tc = tcase_create("saga_states");
	tcase_add_test(tc, page_and_table);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
