#include "tools/modelsim/knobs.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KNOB(m)                                                                                    \
	{                                                                                          \
#m, offsetof(struct knobs, m)                                                      \
	}

static const struct {
	const char *name;
	size_t offset;
} table[] = {KNOB(first_token_ms), KNOB(token_ms),    KNOB(rpm),        KNOB(tpm),
	     KNOB(concurrent),     KNOB(retry_after), KNOB(fail_rate),  KNOB(fail_status),
	     KNOB(fail_count),     KNOB(hang_rate),   KNOB(hang_count), KNOB(cut_rate),
	     KNOB(cut_after),      KNOB(cut_count)};

const struct knobs knobs_default = {
    .fail_status = 503, .fail_count = -1, .hang_count = -1, .cut_count = -1, .cut_after = 3};

int knobs_set(struct knobs *k, const char *name, double value, struct error *err)
{
	if (value < -1 || value > 1e9 || value != value)
		return err_set(err, ERR_REJECTED, "%s: out of range", name);
	if (strcmp(name, "fail") == 0) { /* fail=503; fail=0 ends it */
		k->fail_rate = value > 0;
		k->fail_count = -1;
		if (value > 0)
			k->fail_status = value < 100 || value > 599 ? 503 : value;
		return 0;
	}
	if (strcmp(name, "hang") == 0) { /* hang=0.1: a rate */
		k->hang_rate = value;
		k->hang_count = -1;
		return 0;
	}
	if (strcmp(name, "cut") == 0 ||
	    strcmp(name, "cut_after_tokens") == 0) { /* cut=3: after 3 tokens */
		k->cut_rate = value > 0;
		k->cut_count = -1;
		k->cut_after = value;
		return 0;
	}
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		if (strcmp(table[i].name, name) != 0)
			continue;
		*(double *)((char *)k + table[i].offset) = value;
		return 0;
	}
	return err_set(err, ERR_REJECTED, "unknown knob %.40s", name);
}

int knobs_parse(struct knobs *k, const char *text, struct error *err)
{
	while (*text) {
		char name[48];
		size_t n = strspn(text, " ,;\t");
		char *end;
		double value;

		text += n;
		if (!*text)
			break;
		n = strcspn(text, "=,; \t");
		if (n == 0 || n >= sizeof(name) || text[n] != '=')
			return err_set(err, ERR_REJECTED, "knobs are written name=value, not %.40s",
				       text);
		snprintf(name, sizeof(name), "%.*s", (int)n, text);
		text += n + 1;
		value = strtod(text, &end);
		if (end == text)
			return err_set(err, ERR_REJECTED, "%s: not a number", name);
		text = end;
		if (knobs_set(k, name, value, err) != 0)
			return -1;
	}
	return 0;
}

static int set_fault(struct knobs *k, const char *fault, const json_t *value, struct error *err)
{
	char name[48];
	const char *member;
	json_t *v;

	snprintf(name, sizeof(name), "%s_rate", fault);
	if (knobs_set(k, name, json_is_true(value) || json_is_object(value), err) != 0)
		return -1;
	snprintf(name, sizeof(name), "%s_count", fault);
	if (knobs_set(k, name, -1, err) != 0)
		return -1;
	if (!json_is_object(value))
		return 0;
	json_object_foreach((json_t *)value, member, v)
	{
		snprintf(name, sizeof(name), "%s_%.30s", fault, member);
		if (!json_is_number(v))
			return err_set(err, ERR_REJECTED, "%s: not a number", name);
		if (knobs_set(k, name, json_number_value(v), err) != 0)
			return -1;
	}
	return 0;
}

int knobs_json(struct knobs *k, const json_t *doc, struct error *err)
{
	struct knobs next = *k;
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)doc, name, value)
	{
		bool fault = strcmp(name, "fail") == 0 || strcmp(name, "hang") == 0 ||
			     strcmp(name, "cut") == 0;

		if (strcmp(name, "model") == 0 || strcmp(name, "reset") == 0)
			continue;
		if (fault && !json_is_number(value)) {
			if (!json_is_object(value) && !json_is_boolean(value) &&
			    !json_is_null(value))
				return err_set(err, ERR_REJECTED,
					       "%s: an object, a number, true, false or null",
					       name);
			if (set_fault(&next, name, value, err) != 0)
				return -1;
			continue;
		}
		if (!json_is_number(value))
			return err_set(err, ERR_REJECTED, "%.40s: not a number", name);
		if (knobs_set(&next, name, json_number_value(value), err) != 0)
			return -1;
	}
	*k = next;
	return 0;
}

void knobs_write(const struct knobs *k, struct strbuf *out)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		strbuf_addf(out, "%c\"%s\":%.15g", i == 0 ? '{' : ',', table[i].name,
			    *(const double *)((const char *)k + table[i].offset));
	strbuf_addc(out, '}');
}
