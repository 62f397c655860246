/* The list of sessions: the first ones by their ids, whatever the order in which they come. */
#include <stdio.h>
#include <string.h>

#include "services/edge/roll.h"
#include "tests/unit/common/suite.h"

static struct roll roll;
static struct strbuf text;

static void begin(unsigned limit, const char *after, const char *tenant)
{
	memset(&roll, 0, sizeof(roll));
	roll.limit = limit;
	strcpy(roll.after, after);
	strcpy(roll.tenant, tenant);
}

static const char *ids(void)
{
	strbuf_reset(&text);
	for (unsigned i = 0; i < roll.n; i++)
		strbuf_addf(&text, "%s%s", roll.entries[i].session,
			    roll.entries[i].sockets > 1 ? "* " : " ");
	return strbuf_str(&text);
}

static void add(const char *letters)
{
	for (; *letters; letters++)
		roll_add(&roll, (char[]){*letters, 0}, *letters < 'm' ? "acme" : "zeta", "k", 2);
}

START_TEST(the_first_ones)
{
	begin(3, "", "");
	add("xbqacz");
	ck_assert_str_eq(ids(), "a b c ");
	add("a"); /* its second socket */
	ck_assert_str_eq(ids(), "a* b c ");
	ck_assert_uint_eq(roll.entries[0].subscriptions, 4);
	add("q"); /* one that fell out is not in again */
	ck_assert_str_eq(ids(), "a* b c ");
	begin(ROLL_MAX, "", "");
	add("");
	ck_assert_str_eq(ids(), "");
	roll_add(&roll, "", "acme", "k", 1); /* a stream: it is no session */
	ck_assert_uint_eq(roll.n, 0);
	strbuf_done(&text);
}
END_TEST

START_TEST(page_after_page)
{
	begin(2, "b", "");
	add("dcbaecab");
	ck_assert_str_eq(ids(), "c* d ");
	begin(2, "d", "");
	add("dcbaecab");
	ck_assert_str_eq(ids(), "e ");
	strbuf_done(&text);
}
END_TEST

START_TEST(one_tenant)
{
	begin(5, "", "zeta");
	add("azbyc");
	ck_assert_str_eq(ids(), "y z ");
	strbuf_done(&text);
}
END_TEST

START_TEST(as_json)
{
	begin(2, "", "");
	roll_add(&roll, "b", "acme", "jwt:k:\"x\"", 1);
	roll_add(&roll, "a", "zeta", "key", 3);
	roll_print(&roll, &text);
	ck_assert_str_eq(
	    strbuf_str(&text),
	    "[{\"session\":\"a\",\"tenant\":\"zeta\",\"principal\":\"key\",\"sockets\":1,"
	    "\"subscriptions\":3},{\"session\":\"b\",\"tenant\":\"acme\",\"principal\":"
	    "\"jwt:k:\\\"x\\\"\",\"sockets\":1,\"subscriptions\":1}]");
	strbuf_done(&text);
}
END_TEST

RUN_TESTS("edge: the list of sessions", the_first_ones, page_after_page, one_tenant, as_json)
