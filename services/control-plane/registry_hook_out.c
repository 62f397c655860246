/* Outgoing hooks of a tenant. */
#include <curl/curl.h>
#include <string.h>

#include "common/netaddr.h"
#include "common/permit.h"
#include "common/webhook.h"
#include "services/control-plane/registry.h"
#include "services/control-plane/registry_util.h"

#define NAME_TEXT_MAX   200
#define URL_MAX         1000
#define PATTERNS_MAX    32
#define CONCURRENT_MAX  32
#define CONCURRENT      8
#define TIMEOUT_MS      15000
#define TIMEOUT_MAX_MS  60000
#define DISABLE_AFTER_S 86400
#define DISABLE_MAX_S   2592000
#define ATTEMPTS        20
#define ATTEMPTS_MAX    100
#define INITIAL_MS      5000
#define CAP_MS          3600000
#define DAY_MS          86400000

/* By libcurl's own reading, as it is libcurl that will connect. A name is looked at when it is
 * connected to. */
static int check_reach(const char *url, bool allowed, struct error *err)
{
	CURLU *u = curl_url();
	char *host = NULL;
	int rc = 0;
	if (curl_url_set(u, CURLUPART_URL, url, 0) || curl_url_get(u, CURLUPART_HOST, &host, 0)) {
		rc = err_set(err, ERR_REJECTED, "url: cannot be read");
	} else if (!allowed) {
		size_t n = strlen(host);
		if (n > 2 && host[0] == '[') {
			memmove(host, host + 1, n - 2);
			host[n - 2] = '\0';
		}
		if (netaddr_private_host(host))
			rc = err_set(err, ERR_REJECTED,
				     "url: not a public address; allow_private lets it pass");
	}
	curl_free(host);
	curl_url_cleanup(u);
	return rc;
}

static int copy_patterns(json_t *doc, const json_t *in, const char *member, bool needed,
			 struct error *err)
{
	json_t *list = json_object_get(in, member), *item;
	size_t i, n = json_array_size(list);
	if (!list && !needed)
		return 0;
	if (!json_is_array(list) || n < 1 || n > PATTERNS_MAX)
		return err_set(err, ERR_REJECTED, "%s: must be a list of 1 to %d patterns", member,
			       PATTERNS_MAX);
	json_array_foreach(list, i, item)
	{
		if (!json_is_string(item) || !pattern_valid(json_string_value(item)))
			return err_set(err, ERR_REJECTED, "%s: has what is no pattern", member);
	}
	json_object_set(doc, member, list);
	return 0;
}

static int copy_retry(json_t *doc, const json_t *in, struct error *err)
{
	static const char *const names[] = {"max_attempts", "initial_ms", "max_ms", NULL};
	json_t *given = json_object_get(in, "retry"), *out = json_object();
	json_object_set_new(doc, "retry", out);
	return (given && (registry_object(given, "retry", err) || json_only(given, names, err))) ||
		       registry_copy_int(out, given, "max_attempts", 1, ATTEMPTS_MAX, ATTEMPTS,
					 err) ||
		       registry_copy_int(out, given, "initial_ms", 10, DAY_MS, INITIAL_MS, err) ||
		       registry_copy_int(out, given, "max_ms", 10, DAY_MS, CAP_MS, err)
		   ? -1
		   : 0;
}

static int copy_members(json_t *doc, const json_t *in, struct error *err)
{
	static const char *const directions[] = {"in", "out", NULL};
	const char *url, *secret;
	bool allowed = false;
	if (registry_copy_word(doc, in, "direction", directions, err) ||
	    registry_copy_text(doc, in, "name", NAME_TEXT_MAX, NULL, err) ||
	    json_get_text(in, "url", true, &url, err) || registry_check_url(url, err) ||
	    registry_copy_text(doc, in, "url", URL_MAX, NULL, err) ||
	    json_get_bool(in, "allow_private", &allowed, err) || check_reach(url, allowed, err) ||
	    json_get_text(in, "secret", false, &secret, err) ||
	    copy_patterns(doc, in, "channels", true, err) ||
	    copy_patterns(doc, in, "types", false, err) ||
	    registry_copy_int(doc, in, "concurrent", 1, CONCURRENT_MAX, CONCURRENT, err) ||
	    registry_copy_int(doc, in, "timeout_ms", 100, TIMEOUT_MAX_MS, TIMEOUT_MS, err) ||
	    registry_copy_int(doc, in, "disable_after_s", 1, DISABLE_MAX_S, DISABLE_AFTER_S, err) ||
	    copy_retry(doc, in, err))
		return -1;
	if (secret && !webhook_secret_valid(secret))
		return err_set(err, ERR_REJECTED, "secret: whsec_ and the base64 of %d to %d bytes",
			       WEBHOOK_SECRET_MIN, WEBHOOK_SECRET_MAX);
	json_object_set_new(doc, "allow_private", json_boolean(allowed));
	return 0;
}

json_t *registry_hook_out(const json_t *in, const char *id, const char *tenant, int64_t created_us,
			  struct error *err)
{
	static const char *const names[] = {"id",
					    "tenant",
					    "created_at",
					    "direction",
					    "name",
					    "url",
					    "channels",
					    "types",
					    "secret",
					    "retry",
					    "allow_private",
					    "concurrent",
					    "disable_after_s",
					    "timeout_ms",
					    NULL};
	json_t *doc = json_object();
	json_object_set_new(doc, "id", json_string(id));
	json_object_set_new(doc, "tenant", json_string(tenant));
	if (registry_object(in, "a hook", err) || json_only(in, names, err) ||
	    registry_same_text(in, "id", id, err) ||
	    registry_same_text(in, "tenant", tenant, err) || copy_members(doc, in, err)) {
		json_decref(doc);
		return NULL;
	}
	registry_set_time(doc, "created_at", created_us);
	return doc;
}

void registry_pattern_regex(const json_t *patterns, struct strbuf *out)
{
	json_t *item;
	size_t i;
	strbuf_adds(out, "^(?:");
	if (!json_array_size(patterns))
		strbuf_adds(out, ".*");
	json_array_foreach((json_t *)patterns, i, item)
	{
		if (i)
			strbuf_addc(out, '|');
		for (const char *p = json_string_value(item); *p; p++) {
			if (*p == '*')
				strbuf_adds(out, p[1] ? "[^.]*" : ".*");
			else if (*p == '.')
				strbuf_adds(out, "[.]");
			else
				strbuf_addc(out, *p);
		}
	}
	strbuf_adds(out, ")$");
}
