#include "common/names.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

enum { IN_TENANT = 1, IN_CHANNEL = 2 };

/* Classes of a byte, so that a name is checked with one look-up each. */
static const unsigned char class_of[256] = {
    ['0' ... '9'] = IN_TENANT | IN_CHANNEL,
    ['A' ... 'Z'] = IN_TENANT | IN_CHANNEL,
    ['a' ... 'z'] = IN_TENANT | IN_CHANNEL,
    ['_'] = IN_TENANT | IN_CHANNEL,
    ['-'] = IN_TENANT | IN_CHANNEL,
    [':'] = IN_CHANNEL,
    ['.'] = IN_CHANNEL,
};

/* Length of text if all of it is of the class and it has 1 to max bytes, else 0. */
static size_t span(const char *text, unsigned class, size_t max)
{
	size_t n = 0;

	if (!text)
		return 0;
	while (class_of[(unsigned char)text[n]] & class)
		if (++n > max)
			return 0;
	return text[n] == '\0' ? n : 0;
}

bool name_valid_tenant(const char *text)
{
	return span(text, IN_TENANT, TENANT_MAX) > 0;
}

/* An empty token would be an invalid subject for the broker. */
bool name_valid_channel(const char *text)
{
	size_t n = span(text, IN_CHANNEL, CHANNEL_MAX);

	return n > 0 && text[0] != '.' && text[n - 1] != '.' && !strstr(text, "..");
}

bool name_valid_key(const char *text)
{
	size_t n = 0;

	if (!text)
		return false;
	for (; text[n]; n++)
		if (n == KEY_MAX || text[n] < 0x20 || text[n] > 0x7e)
			return false;
	return n > 0;
}

bool name_task_channel(const char *text)
{
	return !strncmp(text, "task.", 5);
}

bool name_reserved_channel(const char *text)
{
	return name_task_channel(text) || !strncmp(text, "hook.", 5);
}

bool name_reserved_type(const char *text)
{
	return !strncmp(text, "task.", 5);
}

unsigned part_of(const char *tenant, unsigned parts)
{
	return (unsigned)(XXH3_64bits(tenant, strlen(tenant)) % parts);
}

/* Subjects are built for every message: copied together by hand, with a bound that cuts what no
 * valid name can reach. */
static char *put(char *to, const char *end, const char *text)
{
	while (to < end && *text)
		*to++ = *text++;
	*to = '\0';
	return to;
}

static char *put_part(char *to, const char *end, unsigned part)
{
	char digits[12];
	char *p = digits + sizeof(digits) - 1;

	*p = '\0';
	do
		*--p = (char)('0' + part % 10);
	while (part /= 10);
	return put(to, end, p);
}

static struct subject with_part(const char *head, unsigned part)
{
	struct subject s;
	const char *end = s.text + sizeof(s.text) - 1;

	put_part(put(s.text, end, head), end, part);
	return s;
}

static struct subject with_names(const char *head, const char *first, const char *second)
{
	struct subject s;
	const char *end = s.text + sizeof(s.text) - 1;
	char *to = put(s.text, end, head);

	to = put(to, end, first);
	to = put(to, end, ".");
	put(to, end, second);
	return s;
}

static struct subject of_channel(const char *head, unsigned part, const char *tenant,
				 const char *channel)
{
	struct subject s;
	const char *end = s.text + sizeof(s.text) - 1;
	char *to = put_part(put(s.text, end, head), end, part);

	to = put(to, end, ".");
	to = put(to, end, tenant);
	if (channel) {
		to = put(to, end, ".");
		put(to, end, channel);
	}
	return s;
}

struct subject subject_cmd(unsigned part)
{
	return with_part("pen.cmd.", part);
}

struct subject subject_evt(unsigned part, const char *tenant, const char *channel)
{
	return of_channel("pen.evt.", part, tenant, channel);
}

struct subject subject_dlt(unsigned part, const char *tenant, const char *channel)
{
	return of_channel("pen.dlt.", part, tenant, channel);
}

struct subject subject_live(unsigned part, const char *tenant, const char *channel)
{
	return of_channel("pen.live.", part, tenant, channel);
}

struct subject subject_task(const char *pool, const char *tenant)
{
	return with_names("pen.task.", pool, tenant);
}

struct subject subject_wait(unsigned part, const char *tenant, const char *pool)
{
	bool plain = strcmp(pool, POOL_DEFAULT) == 0;
	return of_channel("pen.wait.", part, tenant, plain ? NULL : pool);
}

struct subject subject_end(unsigned part)
{
	return with_part("pen.ctl.end.", part);
}

struct subject subject_owner(unsigned part)
{
	return with_part("pen.ctl.owner.", part);
}

struct subject subject_lease(unsigned part)
{
	return with_part("pen.lease.events.", part);
}

struct subject subject_errand(const char *errand, const char *edge)
{
	struct subject s;

	snprintf(s.text, sizeof(s.text), "pen.ctl.%s.%s", errand, edge);
	return s;
}

bool subject_parse(const char *subject, unsigned *part, char *tenant, char *channel)
{
	const char *p, *dot;
	unsigned number = 0;
	size_t n;

	if (strncmp(subject, "pen.", 4) != 0)
		return false;
	p = subject + 4;
	n = strspn(p, "abcdefghijklmnopqrstuvwxyz");
	if (n == 0 || p[n] != '.')
		return false;
	p += n + 1;
	n = strspn(p, "0123456789");
	if (n == 0 || n > 4 || p[n] != '.')
		return false;
	for (size_t i = 0; i < n; i++)
		number = number * 10 + (unsigned)(p[i] - '0');
	p += n + 1;
	dot = strchr(p, '.');
	if (!dot || dot - p > TENANT_MAX || number >= NAMES_PARTS_MAX ||
	    !name_valid_channel(dot + 1))
		return false;
	memcpy(tenant, p, (size_t)(dot - p));
	tenant[dot - p] = '\0';
	if (!name_valid_tenant(tenant))
		return false;
	*part = number;
	memcpy(channel, dot + 1, strlen(dot + 1) + 1);
	return true;
}

void task_channel(const char *task, char out[CHANNEL_MAX + 1])
{
	snprintf(out, CHANNEL_MAX + 1, "task.%s", task);
}
