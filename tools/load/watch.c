#include "tools/load/watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static int read_part(struct watch_part *p, const char *text, size_t len)
{
	const char *end = text + len, *at = memchr(text, '=', len);
	size_t name = at ? (size_t)(at - text) : 0;

	if (!name || name >= sizeof(p->name))
		return -1;
	memcpy(p->name, text, name);
	while (at < end) { /* at = or + */
		char *stop;
		long pid = strtol(at + 1, &stop, 10);

		if (pid <= 0 || p->n == WATCH_PIDS || (stop != end && *stop != '+'))
			return -1;
		p->pids[p->n++] = (int)pid;
		at = stop;
	}
	return 0;
}

int watch_init(struct watch *w, const char *spec, struct error *err)
{
	*w = (struct watch){0};
	while (spec && *spec) {
		size_t len = strcspn(spec, ",");

		if (w->n == WATCH_PARTS || read_part(&w->parts[w->n], spec, len))
			return err_set(err, ERR_REJECTED,
				       "--watch is name=pid+pid,name=pid with at most %d names",
				       WATCH_PARTS);
		w->n++;
		spec += len + (spec[len] == ',');
	}
	return 0;
}

/* utime and stime, fields 14 and 15, counted behind the name, which may hold anything (proc(5)). */
static double cpu_of(int pid)
{
	char path[64], text[1024], *at;
	unsigned long long user = 0, sys = 0;
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	at = strrchr(text, ')');
	if (!at || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
			  &sys) != 2)
		return 0;
	return (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
}

static int64_t bytes_of(int pid)
{
	char path[64], line[256];
	long long kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %lld", &kib) == 1)
			break;
	fclose(f);
	return kib * 1024;
}

void watch_read(const struct watch *w, struct usage *u)
{
	struct rusage own;

	*u = (struct usage){0};
	getrusage(RUSAGE_SELF, &own);
	u->own_s = (double)(own.ru_utime.tv_sec + own.ru_stime.tv_sec) +
		   (double)(own.ru_utime.tv_usec + own.ru_stime.tv_usec) / 1e6;
	for (unsigned i = 0; i < w->n; i++) {
		for (unsigned j = 0; j < w->parts[i].n; j++) {
			u->cpu_s[i] += cpu_of(w->parts[i].pids[j]);
			u->bytes[i] += bytes_of(w->parts[i].pids[j]);
		}
	}
}

void watch_write_cpu(const struct watch *w, const struct usage *from, const struct usage *to,
		     struct strbuf *out)
{
	strbuf_addc(out, '{');
	for (unsigned i = 0; i < w->n; i++)
		strbuf_addf(out, "\"%s\":%.3f,", w->parts[i].name, to->cpu_s[i] - from->cpu_s[i]);
	strbuf_addf(out, "\"load\":%.3f}", to->own_s - from->own_s);
}

void watch_write_bytes(const struct watch *w, const struct usage *from, const struct usage *to,
		       struct strbuf *out)
{
	strbuf_addc(out, '{');
	for (unsigned i = 0; i < w->n; i++)
		strbuf_addf(out, "%s\"%s\":%lld", i ? "," : "", w->parts[i].name,
			    (long long)(to->bytes[i] - from->bytes[i]));
	strbuf_addc(out, '}');
}
