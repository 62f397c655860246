/* The text of the metrics, and the admin port over a real socket. */
#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/admin.h"
#include "common/metrics.h"
#include "suite.h"

START_TEST(text_is_grouped_by_name)
{
	struct metrics *m = metrics_new();
	struct strbuf out = {0};
	struct metric *a =
	    metrics_counter(m, "penstock_a_total", "class=\"durable\"", "What\\a\nis");
	struct metric *g = metrics_gauge(m, "penstock_g_bytes", NULL, "G");
	struct metric *b = metrics_counter(m, "penstock_a_total", "class=\"ephemeral\"", "ignored");

	ck_assert_ptr_ne(a, b);
	ck_assert_ptr_eq(b, metrics_counter(m, "penstock_a_total", "class=\"ephemeral\"", NULL));
	metric_add(a, 5);
	metric_add(a, 1);
	metric_set(g, -3);
	ck_assert_int_eq(metric_get(a), 6);
	metrics_text(m, &out);
	ck_assert_str_eq(strbuf_str(&out), "# HELP penstock_a_total What\\\\a\\nis\n"
					   "# TYPE penstock_a_total counter\n"
					   "penstock_a_total{class=\"durable\"} 6\n"
					   "penstock_a_total{class=\"ephemeral\"} 0\n"
					   "# HELP penstock_g_bytes G\n"
					   "# TYPE penstock_g_bytes gauge\n"
					   "penstock_g_bytes -3\n");
	strbuf_done(&out);
	metrics_free(m);
	metrics_free(NULL);
}
END_TEST

static void expect_line(const struct strbuf *text, const char *line)
{
	const char *at = strstr(strbuf_str(text), line);

	ck_assert_msg(at && (at == text->data || at[-1] == '\n') && at[strlen(line)] == '\n',
		      "no line '%s' in\n%s", line, strbuf_str(text));
}

/* The sample of this name, without labels, is more than least. */
static void expect_above(const struct strbuf *text, const char *name, double least)
{
	char start[80];
	const char *at;

	snprintf(start, sizeof(start), "\n%s ", name);
	at = strstr(strbuf_str(text), start);
	ck_assert_msg(at, "no %s in\n%s", name, strbuf_str(text));
	ck_assert_double_gt(strtod(at + strlen(start), NULL), least);
}

START_TEST(histogram_counts_up_to_each_bound)
{
	struct metrics *m = metrics_new();
	struct histogram *h = metrics_histogram(m, "penstock_h_seconds", "k=\"v\"", "H");
	struct strbuf out = {0};

	histogram_observe_us(h, 100);      /* the bound itself is in */
	histogram_observe_us(h, 101);      /* the next one */
	histogram_observe_us(h, -5);       /* counts as 0 */
	histogram_observe_us(h, 1000000);  /* one second */
	histogram_observe_us(h, 60000001); /* above the last bound */
	metrics_text(m, &out);
	expect_line(&out, "# TYPE penstock_h_seconds histogram");
	expect_line(&out, "penstock_h_seconds_bucket{k=\"v\",le=\"0.0001\"} 2");
	expect_line(&out, "penstock_h_seconds_bucket{k=\"v\",le=\"0.00025\"} 3");
	expect_line(&out, "penstock_h_seconds_bucket{k=\"v\",le=\"0.5\"} 3");
	expect_line(&out, "penstock_h_seconds_bucket{k=\"v\",le=\"1\"} 4");
	expect_line(&out, "penstock_h_seconds_bucket{k=\"v\",le=\"60\"} 4");
	expect_line(&out, "penstock_h_seconds_bucket{k=\"v\",le=\"+Inf\"} 5");
	expect_line(&out, "penstock_h_seconds_sum{k=\"v\"} 61.000202");
	expect_line(&out, "penstock_h_seconds_count{k=\"v\"} 5");
	strbuf_reset(&out);
	metrics_histogram(m, "penstock_i_seconds", NULL, "I");
	metrics_text(m, &out);
	expect_line(&out, "penstock_i_seconds_bucket{le=\"+Inf\"} 0");
	expect_line(&out, "penstock_i_seconds_sum 0");
	expect_line(&out, "penstock_i_seconds_count 0");
	strbuf_done(&out);
	metrics_free(m);
}
END_TEST

static void *count_up(void *arg)
{
	for (int i = 0; i < 50000; i++)
		metric_add(arg, 1);
	return NULL;
}

START_TEST(no_count_is_lost_between_threads)
{
	struct metrics *m = metrics_new();
	struct metric *c = metrics_counter(m, "penstock_c_total", NULL, "C");
	struct strbuf out = {0};
	pthread_t thread[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, count_up, c);
	metrics_text(m, &out);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	ck_assert_int_eq(metric_get(c), 200000);
	strbuf_done(&out);
	metrics_free(m);
}
END_TEST

/* --- the admin port --------------------------------------------------------------------- */

static size_t keep_body(char *data, size_t size, size_t n, void *arg)
{
	strbuf_add(arg, data, size * n);
	return size * n;
}

struct reply {
	long status;
	struct strbuf body;
	char type[80];
};

static struct reply ask(int port, const char *method, const char *path, const char *body)
{
	struct reply r = {0};
	CURL *curl = curl_easy_init();
	char url[128];
	char *type = NULL;

	snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", port, path);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, 30L);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &r.body);
	if (!strcmp(method, "HEAD"))
		curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
	else
		curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	if (body)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	ck_assert_int_eq(curl_easy_perform(curl), CURLE_OK);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &r.status);
	curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
	snprintf(r.type, sizeof(r.type), "%s", type ? type : "");
	curl_easy_cleanup(curl);
	return r;
}

static void expect(int port, const char *method, const char *path, long status, const char *body)
{
	struct reply r = ask(port, method, path, NULL);

	ck_assert_msg(r.status == status && !strcmp(strbuf_str(&r.body), body), "%s %s: %ld '%s'",
		      method, path, r.status, strbuf_str(&r.body));
	strbuf_done(&r.body);
}

START_TEST(admin_answers)
{
	struct metrics *m = metrics_new();
	struct error err = {0};
	struct admin *admin = admin_start("127.0.0.1", 0, m, &err);
	struct reply r;
	int port;

	ck_assert_msg(admin, "%s", err.msg);
	port = admin_port(admin);
	ck_assert_int_gt(port, 0);
	expect(port, "GET", "/livez", 200, "ok\n");
	expect(port, "GET", "/readyz", 503, "starting\n");
	admin_ready(admin, false, "no connection to NATS");
	expect(port, "GET", "/readyz", 503, "no connection to NATS\n");
	admin_ready(admin, true, "not shown");
	expect(port, "GET", "/readyz", 200, "ready\n");
	expect(port, "HEAD", "/readyz", 200, "");
	admin_ready(admin, false, NULL);
	expect(port, "GET", "/readyz", 503, "not ready\n");
	expect(port, "GET", "/", 404, "/livez, /readyz, /metrics\n");
	expect(port, "DELETE", "/livez", 405, "only GET and HEAD\n");
	metric_add(metrics_counter(m, "penstock_x_total", NULL, "X"), 3);
	r = ask(port, "GET", "/metrics", NULL);
	ck_assert_int_eq(r.status, 200);
	ck_assert_str_eq(r.type, "text/plain; version=0.0.4; charset=utf-8");
	expect_line(&r.body, "penstock_x_total 3");
	expect_above(&r.body, "penstock_process_resident_bytes", 100000);
	expect_above(&r.body, "penstock_process_heap_bytes", -1);
	expect_above(&r.body, "penstock_process_open_fds", 3);
	expect_above(&r.body, "penstock_process_cpu_seconds_total", 0);
	strbuf_done(&r.body);
	r = ask(port, "POST", "/livez", "a body that nobody wants");
	ck_assert_int_eq(r.status, 405);
	strbuf_done(&r.body);
	admin_stop(admin);
	admin_stop(NULL);
	metrics_free(m);
}
END_TEST

START_TEST(admin_refuses_bad_addresses)
{
	struct metrics *m = metrics_new();
	struct error err = {0};
	struct admin *first;

	ck_assert_ptr_null(admin_start("localhost", 0, m, &err));
	ck_assert_int_eq(err.code, ERR_FATAL);
	ck_assert_ptr_null(admin_start("127.0.0.1", 65536, m, &err));
	ck_assert_ptr_null(admin_start("", 0, m, &err));
	first = admin_start("127.0.0.1", 0, m, &err);
	ck_assert_ptr_nonnull(first);
	/* A port that somebody has is not shared. */
	ck_assert_ptr_null(admin_start("127.0.0.1", admin_port(first), m, &err));
	ck_assert_ptr_nonnull(strstr(err.msg, "cannot listen"));
	admin_stop(first);
	metrics_free(m);
}
END_TEST

RUN_TESTS("metrics", text_is_grouped_by_name, histogram_counts_up_to_each_bound,
	  no_count_is_lost_between_threads, admin_answers, admin_refuses_bad_addresses)
