/* What the kernel and the allocator say of this process. */
#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/metrics.h"

static void add_gauge(struct strbuf *out, const char *name, const char *help, long long value)
{
	strbuf_addf(out, "# HELP %s %s\n# TYPE %s gauge\n%s %lld\n", name, help, name, name, value);
}

static long long resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	char line[128];
	char *second;
	long pages = 0;

	if (!file)
		return 0;
	/* "size resident shared …", in pages: proc(5) */
	if (fgets(line, sizeof(line), file) && (second = strchr(line, ' ')))
		pages = strtol(second, NULL, 10);
	fclose(file);
	return pages * sysconf(_SC_PAGESIZE);
}

static long long open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	long long n = 0;

	if (!dir)
		return 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 3; /* ".", ".." and the directory itself */
}

void metrics_process_text(struct strbuf *out)
{
	struct mallinfo2 heap = mallinfo2();
	struct rusage use;
	const struct timeval *user = &use.ru_utime, *sys = &use.ru_stime;
	static const char cpu[] = "penstock_process_cpu_seconds_total";

	add_gauge(out, "penstock_process_resident_bytes", "Memory that is in RAM.",
		  resident_bytes());
	add_gauge(out, "penstock_process_heap_bytes", "Memory that was allocated and not freed.",
		  (long long)heap.uordblks + (long long)heap.hblkhd);
	add_gauge(out, "penstock_process_open_fds", "Open file descriptors.", open_descriptors());
	getrusage(RUSAGE_SELF, &use);
	strbuf_addf(
	    out, "# HELP %s User and system time.\n# TYPE %s counter\n%s %.6f\n", cpu, cpu, cpu,
	    (double)(user->tv_sec + sys->tv_sec) + (double)(user->tv_usec + sys->tv_usec) / 1e6);
}
