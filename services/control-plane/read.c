/* GET of one thing and of a list, for every kind that is a row in PostgreSQL. */
#include <string.h>

#include "common/json.h"
#include "common/pg.h"
#include "services/control-plane/api.h"
#include "services/control-plane/db.h"

#define PAGE_SIZE     100
#define PAGE_SIZE_MAX 1000

static size_t id_values(const struct call *call, const char **values)
{
	for (size_t i = 0; i < call->ids.n; i++)
		values[i] = call->ids.id[i];
	return call->ids.n;
}

PGresult *call_rows(struct call *call, const char *sql, size_t n, const char *const *values)
{
	struct error err;
	PGconn *conn = db_take(call->api->pool, &err);
	PGresult *res = conn ? pg_query(conn, sql, (int)n, values, &err) : NULL;
	if (conn)
		db_give(call->api->pool, conn);
	if (!res)
		call_error(call, &err);
	return res;
}

void call_get_or(struct call *call, const char *sql, const char *what, json_t *(*otherwise)(void))
{
	const char *values[ROUTE_IDS];
	PGresult *res = call_rows(call, sql, id_values(call, values), values);
	if (!res)
		return;
	if (PQntuples(res) == 0) {
		call_fail(call, 404, "not_found", "no such %s", what);
	} else {
		const char *text = pg_text(res, 0, 0);
		json_t *doc = text ? json_parse(text, strlen(text), NULL) : otherwise();
		call_doc(call, 200, doc);
		json_decref(doc);
	}
	PQclear(res);
}

void call_get(struct call *call, const char *sql, const char *what)
{
	call_get_or(call, sql, what, json_null);
}

static int parent_exists(struct call *call, const char *sql)
{
	const char *values[ROUTE_IDS];
	PGresult *res = call_rows(call, sql, id_values(call, values), values);
	if (!res)
		return -1;
	bool there = PQntuples(res) > 0;
	PQclear(res);
	return there ? 0
		     : call_fail(call, 404, "not_found", "what the list belongs to does not exist");
}

void call_rows_page(struct call *call, const char *list, const PGresult *res, int64_t size)
{
	json_t *items = json_array(), *next = json_null();
	for (int row = 0; row < PQntuples(res) && row < size; row++) {
		const char *text = pg_text(res, row, 1);
		json_array_append_new(items, json_parse(text, strlen(text), NULL));
	}
	if (PQntuples(res) > size) {
		char token[PAGE_TOKEN_MAX];
		page_token_make(list, pg_text(res, (int)size - 1, 0), token);
		next = json_string(token);
	}
	call_value(call, json_pack("{soso}", "items", items, "next_page_token", next));
}

int call_page(struct call *call, const char *list, int64_t *size, char last[ROUTE_ID_MAX + 1])
{
	const char *token = call_query(call, "page_token");
	struct error err;
	*size = PAGE_SIZE;
	*last = '\0';
	if (call_query_int(call, "page_size", 1, PAGE_SIZE_MAX, size))
		return -1;
	if (token && *token && page_token_read(token, list, last, &err))
		return call_bad_query(call, &err);
	return 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

json_t *call_page_of(json_t *all, const char *list, int64_t size, const char *last)
{
	size_t n = 0, at = 0, count = json_object_size(all);
	const char **ids = xcalloc(count + 1, sizeof(*ids)), *id;
	json_t *items = json_array(), *next = json_null(), *value;
	json_object_foreach(all, id, value) ids[n++] = id;
	qsort(ids, n, sizeof(*ids), by_text);
	while (at < n && *last && strcmp(ids[at], last) <= 0)
		at++;
	for (size_t i = at; i < n && i < at + (size_t)size; i++)
		json_array_append(items, json_object_get(all, ids[i]));
	if (n > at + (size_t)size) {
		char token[PAGE_TOKEN_MAX];
		page_token_make(list, ids[at + (size_t)size - 1], token);
		next = json_string(token);
	}
	free(ids);
	return json_pack("{soso}", "items", items, "next_page_token", next);
}

void call_list(struct call *call, const char *list, const char *sql, const char *parent)
{
	const char *values[ROUTE_IDS + 2];
	char last[ROUTE_ID_MAX + 1];
	int64_t size;
	if (call_page(call, list, &size, last))
		return;
	bool first = !*last;
	if (first && parent && parent_exists(call, parent))
		return;
	/* One more than asked for: its presence says that there is a next page. */
	struct pg_int8 limit = pg_int8(size + 1);
	size_t n = id_values(call, values);
	values[n] = first ? NULL : last;
	values[n + 1] = limit.text;
	PGresult *res = call_rows(call, sql, n + 2, values);
	if (!res)
		return;
	call_rows_page(call, list, res, size);
	PQclear(res);
}
