/* JSON into aligned text. Pure. */
#include <string.h>

#include "common/json.h"
#include "tools/penstock/cli.h"

size_t cli_width(const char *text)
{
	size_t n = 0;

	/* Every code point is taken for one column: good for names, and ids have no others. */
	for (; *text; text++)
		n += ((unsigned char)*text & 0xC0) != 0x80;
	return n;
}

const json_t *cli_path(const json_t *object, const char *path)
{
	char name[64];

	while (object && *path) {
		size_t len = strcspn(path, ".");

		if (len >= sizeof(name))
			return NULL;
		memcpy(name, path, len);
		name[len] = 0;
		object = json_object_get(object, name);
		path += len + (path[len] == '.');
	}
	return object;
}

/* A control character in a value must not reach the terminal. */
void cli_clean(struct strbuf *out, const char *text)
{
	for (; *text; text++)
		strbuf_addc(out, (unsigned char)*text < 0x20 || *text == 0x7F ? ' ' : *text);
}

static void add_cell(struct strbuf *out, const json_t *value)
{
	if (!value || json_is_null(value))
		strbuf_addc(out, '-');
	else if (json_is_string(value))
		cli_clean(out, *json_string_value(value) ? json_string_value(value) : "-");
	else
		json_add(out, value);
}

static void pad(struct strbuf *out, size_t n)
{
	while (n-- > 0)
		strbuf_addc(out, ' ');
}

void cli_table(struct strbuf *out, const json_t *items, const struct cli_column *columns, size_t n)
{
	size_t width[16] = {0}, rows = json_array_size(items);
	struct strbuf cell = {0};

	/* First pass: widths; second: text. Row 0 is the titles. */
	for (int pass = 0; pass < 2; pass++) {
		for (size_t r = 0; r <= rows; r++) {
			for (size_t c = 0; c < n && c < 16; c++) {
				size_t w;

				strbuf_reset(&cell);
				if (r == 0)
					strbuf_adds(&cell, columns[c].title);
				else
					add_cell(&cell, cli_path(json_array_get(items, r - 1),
								 columns[c].path));
				w = cli_width(strbuf_str(&cell));
				if (pass == 0) {
					width[c] = w > width[c] ? w : width[c];
					continue;
				}
				strbuf_adds(out, strbuf_str(&cell));
				if (c + 1 < n)
					pad(out, width[c] - w + 2);
			}
			if (pass == 1)
				strbuf_addc(out, '\n');
		}
	}
	strbuf_done(&cell);
}

void cli_object(struct strbuf *out, const json_t *object)
{
	size_t width = 0;
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)object, name, value) width =
	    cli_width(name) > width ? cli_width(name) : width;
	json_object_foreach((json_t *)object, name, value)
	{
		strbuf_adds(out, name);
		pad(out, width - cli_width(name) + 2);
		add_cell(out, value);
		strbuf_addc(out, '\n');
	}
}
