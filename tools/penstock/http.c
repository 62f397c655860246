/* HTTP to the control-plane and the edge, by libcurl. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/json.h"
#include "tools/penstock/cli.h"

#define ANSWER_MAX ((size_t)64 << 20)

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct strbuf *body = arg;

	if (body->len + size * n > ANSWER_MAX)
		return 0;
	strbuf_add(body, data, size * n);
	return size * n;
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
	struct cli_answer *answer = arg;
	size_t len = size * n;

	if (len > 5 && strncasecmp(data, "etag:", 5) == 0) {
		while (len > 5 && (data[len - 1] == '\r' || data[len - 1] == '\n'))
			len--;
		data += 5, len -= 5;
		while (len && *data == ' ')
			data++, len--;
		snprintf(answer->etag, sizeof(answer->etag), "%.*s", (int)len, data);
	}
	return size * n;
}

static struct curl_slist *header_list(const char *token, bool body, const char *const *headers)
{
	struct curl_slist *list = NULL;
	struct strbuf auth = {0};

	if (token) {
		strbuf_addf(&auth, "Authorization: Bearer %s", token);
		list = curl_slist_append(list, auth.data);
	}
	if (body)
		list = curl_slist_append(list, "Content-Type: application/json");
	for (; headers && *headers; headers++)
		list = curl_slist_append(list, *headers);
	strbuf_done(&auth);
	return list;
}

int cli_http(const char *method, const char *url, const char *token, const json_t *body,
	     const char *const *headers, struct cli_answer *answer, struct error *err)
{
	CURL *curl = curl_easy_init();
	struct strbuf text = {0};
	struct curl_slist *list = header_list(token, body != NULL, headers);
	char *out = body ? json_text(body, NULL) : NULL;
	CURLcode rc;

	*answer = (struct cli_answer){0};
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, 60L);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &text);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, answer);
	if (out)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, out);
	rc = curl_easy_perform(curl);
	if (rc == CURLE_OK) {
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
		answer->doc = text.len ? json_parse(text.data, text.len, NULL) : NULL;
	} else {
		err_set(err, ERR_TRANSIENT, "%s: %s", url, curl_easy_strerror(rc));
	}
	free(out);
	strbuf_done(&text);
	curl_slist_free_all(list);
	curl_easy_cleanup(curl);
	return rc == CURLE_OK ? 0 : -1;
}

void cli_answer_done(struct cli_answer *answer)
{
	json_decref(answer->doc);
	answer->doc = NULL;
}

int cli_fail(const struct error *err)
{
	fprintf(stderr, "penstock: %s\n", err->msg);
	return CLI_FAILED;
}

static int refused(const struct cli_answer *a)
{
	const char *code = json_string_value(json_object_get(a->doc, "code"));
	const char *detail = json_string_value(json_object_get(a->doc, "detail"));

	if (!detail)
		detail = json_string_value(json_object_get(a->doc, "title"));
	fprintf(stderr, "penstock: %ld %s: %s\n", a->status, code ? code : "error",
		detail ? detail : "no reason given");
	return CLI_FAILED;
}

static int call(const char *base, const char *token, const char *method, const char *path,
		const json_t *body, const char *const *headers, struct cli_answer *answer)
{
	struct strbuf url = {0};
	struct error err;
	int rc;

	strbuf_addf(&url, "%s/v1%s", base, path);
	rc = cli_http(method, url.data, token, body, headers, answer, &err);
	strbuf_done(&url);
	if (rc != 0)
		return cli_fail(&err);
	if (answer->status >= 200 && answer->status < 300)
		return CLI_OK;
	rc = refused(answer);
	cli_answer_done(answer);
	return rc;
}

int cli_control(struct cli *cli, const char *method, const char *path, const json_t *body,
		const char *const *headers, struct cli_answer *answer)
{
	if (!cli->admin_key) {
		fputs("penstock: no admin key: --admin-key or PENSTOCK_ADMIN_KEY\n", stderr);
		return CLI_FAILED;
	}
	return call(cli->control, cli->admin_key, method, path, body, headers, answer);
}

int cli_edge(struct cli *cli, const char *method, const char *path, const json_t *body,
	     struct cli_answer *answer)
{
	if (!cli->key) {
		fputs("penstock: no API key: --key or PENSTOCK_KEY\n", stderr);
		return CLI_FAILED;
	}
	return call(cli->edge, cli->key, method, path, body, NULL, answer);
}

int cli_list(struct cli *cli, const char *path, json_t **items)
{
	struct strbuf page = {0};
	struct cli_answer a;
	int rc;

	*items = json_array();
	const char *more = strchr(path, '?') ? "&" : "?";
	strbuf_addf(&page, "%s%spage_size=1000", path, more);
	for (;;) {
		const char *next;

		rc = cli_control(cli, "GET", page.data, NULL, NULL, &a);
		if (rc != CLI_OK)
			break;
		json_array_extend(*items, json_object_get(a.doc, "items"));
		next = json_string_value(json_object_get(a.doc, "next_page_token"));
		if (next) {
			strbuf_reset(&page);
			strbuf_addf(&page, "%s%spage_size=1000&page_token=", path, more);
			cli_segment(&page, next);
		}
		cli_answer_done(&a);
		if (!next)
			break;
	}
	strbuf_done(&page);
	if (rc != CLI_OK) {
		json_decref(*items);
		*items = NULL;
	}
	return rc;
}

/* RFC 3986, 2.3: all but the unreserved characters. */
void cli_segment(struct strbuf *path, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		    strchr("-._~", c))
			strbuf_addc(path, *text);
		else
			strbuf_addf(path, "%%%02X", c);
	}
}
