/* /v1/usage: what calls of models took, as the event-store sums it up in PostgreSQL. */
#include <stdio.h>
#include <string.h>

#include "common/names.h"
#include "common/pg.h"
#include "services/control-plane/resources.h"

#define NUMBERS                                                                                    \
	"'calls', calls, 'failed', failed, 'prompt_tokens', prompt_tokens, 'completion_tokens',"   \
	" completion_tokens, 'total_tokens', total_tokens, 'cost', cost"

/* $1 to $5: filters, or null. $6 to $9: what to tell apart. $10: the place of the last one of the
 * page before. */
static const char days_sql[] =
    "SELECT place::text, json_strip_nulls(json_build_object('day', day, 'tenant', tenant,"
    " 'pipeline', pipeline, 'model', model, " NUMBERS
    ")) FROM (SELECT *, row_number() OVER (ORDER BY day DESC, tenant, pipeline, model) AS place"
    " FROM (SELECT CASE WHEN $6::bool THEN u.day END AS day,"
    " CASE WHEN $7::bool THEN u.tenant END AS tenant,"
    " CASE WHEN $8::bool THEN u.pipeline END AS pipeline,"
    " CASE WHEN $9::bool THEN u.model END AS model, sum(calls) AS calls, sum(failed) AS failed,"
    " sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens,"
    " sum(total_tokens) AS total_tokens, trim_scale(sum(cost)) AS cost FROM usage_days u"
    " WHERE ($1::text IS NULL OR u.tenant = $1) AND ($2::text IS NULL OR u.pipeline = $2)"
    " AND ($3::text IS NULL OR u.model = $3) AND ($4::date IS NULL OR u.day >= $4::date)"
    " AND ($5::date IS NULL OR u.day <= $5::date) GROUP BY 1, 2, 3, 4) AS sums) AS places"
    " WHERE $10::int8 IS NULL OR place > $10::int8 ORDER BY place LIMIT $11::int8";

static const char task_sql[] =
    "SELECT model, json_build_object('task', task, 'tenant', tenant, 'pipeline', pipeline,"
    " 'model', model, 'calls', calls, 'failed', failed, 'prompt_tokens', prompt_tokens,"
    " 'completion_tokens', completion_tokens, 'total_tokens', total_tokens,"
    " 'cost', trim_scale(cost)) FROM usage_tasks WHERE tenant = $1 AND task = $2"
    " AND ($3::text IS NULL OR model > $3) ORDER BY model LIMIT $4::int8";

enum { BY_DAY, BY_TENANT, BY_PIPELINE, BY_MODEL, BY_ALL };

static bool valid_day(const char *text)
{
	static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	unsigned year, month, day;
	int end = 0;
	if (strlen(text) != 10 || strspn(text, "0123456789-") != 10 || text[4] != '-' ||
	    text[7] != '-' || sscanf(text, "%4u-%2u-%2u%n", &year, &month, &day, &end) != 3 ||
	    end != 10 || year < 1970 || month < 1 || month > 12 || day < 1 ||
	    day > (unsigned)days[month - 1])
		return false;
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	return month != 2 || day < 29 || leap;
}

static int check_days(struct call *call)
{
	static const char *const names[] = {"from", "to"};
	for (size_t i = 0; i < 2; i++) {
		const char *day = call_query(call, names[i]);
		if (day && !valid_day(day)) {
			call_fail(call, 400, "bad_request", "%s: must be a day, YYYY-MM-DD",
				  names[i]);
			return -1;
		}
	}
	return 0;
}

/* What the sums are told apart by; without a word, by everything. */
static int read_by(struct call *call, bool by[BY_ALL])
{
	static const char *const words[BY_ALL] = {"day", "tenant", "pipeline", "model"};
	const char *text = call_query(call, "by");
	for (size_t i = 0; i < BY_ALL; i++)
		by[i] = !text;
	while (text && *text) {
		size_t len = strcspn(text, ","), i = 0;
		while (i < BY_ALL && (strlen(words[i]) != len || strncmp(words[i], text, len) != 0))
			i++;
		if (i == BY_ALL) {
			call_fail(call, 400, "bad_request",
				  "by: day, tenant, pipeline, model, with commas between");
			return -1;
		}
		by[i] = true;
		text += len + (text[len] == ',');
	}
	return 0;
}

static void of_task(struct call *call, const char *tenant, const char *task)
{
	char last[ROUTE_ID_MAX + 1];
	int64_t size;
	if (!tenant || !name_valid_tenant(tenant)) {
		call_fail(call, 400, "bad_request", "tenant: whose task?");
		return;
	}
	if (call_page(call, "usage-task", &size, last))
		return;
	struct pg_int8 limit = pg_int8(size + 1);
	PGresult *res = call_rows(call, task_sql, 4,
				  (const char *[]){tenant, task, *last ? last : NULL, limit.text});
	if (!res)
		return;
	call_rows_page(call, "usage-task", res, size);
	PQclear(res);
}

void usage_list(struct call *call)
{
	char last[ROUTE_ID_MAX + 1];
	bool by[BY_ALL];
	int64_t size;
	if (call_query(call, "task")) {
		of_task(call, call_query(call, "tenant"), call_query(call, "task"));
		return;
	}
	if (check_days(call) || read_by(call, by) || call_page(call, "usage", &size, last))
		return;
	struct pg_int8 limit = pg_int8(size + 1);
	const char *flags[BY_ALL];
	for (size_t i = 0; i < BY_ALL; i++)
		flags[i] = by[i] ? "t" : "f";
	const char *values[] = {call_query(call, "tenant"),
				call_query(call, "pipeline"),
				call_query(call, "model"),
				call_query(call, "from"),
				call_query(call, "to"),
				flags[BY_DAY],
				flags[BY_TENANT],
				flags[BY_PIPELINE],
				flags[BY_MODEL],
				*last ? last : NULL,
				limit.text};
	PGresult *res = call_rows(call, days_sql, 11, values);
	if (!res)
		return;
	call_rows_page(call, "usage", res, size);
	PQclear(res);
}
