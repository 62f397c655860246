#include "common/log.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/ids.h"
#include "common/strbuf.h"
#include "common/ws.h"

/* Set once before any thread, then only read. */
static struct {
	char service[64];
	char instance[128];
	enum log_level level;
} logger = {.service = "penstock", .level = LOG_INFO};

static const char *const level_name[] = {"debug", "info", "warn", "error"};

void log_init(const char *service, const char *instance, enum log_level level)
{
	snprintf(logger.service, sizeof(logger.service), "%s", service);
	snprintf(logger.instance, sizeof(logger.instance), "%s", instance ? instance : "");
	logger.level = level;
}

int log_level_parse(const char *word, enum log_level *level)
{
	for (unsigned i = 0; i < sizeof(level_name) / sizeof(*level_name); i++) {
		if (!strcmp(word, level_name[i])) {
			*level = (enum log_level)i;
			return 0;
		}
	}
	return -1;
}

/* What is logged may come from outside: a line must be valid JSON whatever it holds, so text that
 * is not UTF-8 shows each foreign byte as U+FFFD. */
static void add_text(struct strbuf *b, const char *text)
{
	size_t len = text ? strlen(text) : 0;
	uint32_t state = 0;

	if (!text || (ws_utf8(&state, (const uint8_t *)text, len) && state == 0)) {
		strbuf_add_json(b, text);
		return;
	}
	struct strbuf clean = {0};

	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)text[i] < 0x80)
			strbuf_addc(&clean, text[i]);
		else
			strbuf_adds(&clean, "\xef\xbf\xbd");
	}
	strbuf_add_jsonn(b, clean.data, clean.len);
	strbuf_done(&clean);
}

static void add_value(struct strbuf *b, const struct log_value *value)
{
	switch (value->kind) {
	case 's':
		add_text(b, value->u.s);
		break;
	case 'i':
		strbuf_addf(b, "%lld", (long long)value->u.i);
		break;
	case 'f': /* JSON has no words for infinity and NaN */
		if (isfinite(value->u.f))
			strbuf_addf(b, "%.17g", value->u.f);
		else
			strbuf_adds(b, "null");
		break;
	case 'b':
		strbuf_adds(b, value->u.i ? "true" : "false");
		break;
	default:
		strbuf_adds(b, "null");
	}
}

static void write_line(const struct strbuf *b)
{
	size_t done = 0;

	while (done < b->len) {
		ssize_t n = write(STDERR_FILENO, b->data + done, b->len - done);

		if (n < 0 && errno != EINTR)
			return; /* a log that cannot be written is nobody's reason to stop */
		if (n > 0)
			done += (size_t)n;
	}
}

void log_fields(enum log_level level, const char *message, const struct log_field *fields)
{
	struct strbuf b = {0};
	struct timespec now;
	char when[TIME_LEN + 1];

	if (level < logger.level)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	time_format((int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000, when);
	strbuf_reserve(&b, 512);
	strbuf_addf(&b, "{\"time\":\"%s\",\"level\":\"%s\",\"service\":", when, level_name[level]);
	add_text(&b, logger.service);
	if (logger.instance[0]) {
		strbuf_adds(&b, ",\"instance\":");
		add_text(&b, logger.instance);
	}
	strbuf_adds(&b, ",\"msg\":");
	add_text(&b, message);
	for (; fields && fields->name; fields++) {
		strbuf_addc(&b, ',');
		add_text(&b, fields->name);
		strbuf_addc(&b, ':');
		add_value(&b, &fields->value);
	}
	strbuf_adds(&b, "}\n");
	write_line(&b);
	strbuf_done(&b);
}
