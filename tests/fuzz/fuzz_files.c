/* links: services/edge */
/* A path from anybody: whatever is opened lies below the folder, is a plain file and of a known
 * kind. The folder above has what must never be had. */
#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "services/edge/files.h"
#include "tests/unit/common/remove.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char base[64], below[80];
static int dir = -1;

static void touch(const char *folder, const char *name)
{
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert(fd >= 0);
	close(fd);
}

static void clean(void)
{
	if (remove_folder(base))
		abort();
}

static void setup(void)
{
	char path[160];

	strcpy(base, "/tmp/penstock-fuzz-XXXXXX");
	if (!mkdtemp(base))
		abort();
	atexit(clean);
	snprintf(below, sizeof(below), "%s/w", base);
	snprintf(path, sizeof(path), "%s/a", below);
	if (mkdir(below, 0700) || mkdir(path, 0700))
		abort();
	touch(base, "a.js");
	touch(base, "index.html");
	touch(below, "index.html");
	touch(below, "a.js");
	touch(path, "index.html");
	touch(path, "a.css");
	snprintf(path, sizeof(path), "%s/o", below);
	if (symlink("..", path))
		abort();
	dir = open(below, O_RDONLY | O_DIRECTORY);
	assert(dir >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct files_file file = {.fd = -1};
	char *path, name[64], target[PATH_MAX];
	struct stat st;
	ssize_t n;

	if (dir < 0)
		setup();
	path = malloc(size + 1);
	assert(path);
	memcpy(path, data, size);
	path[size] = 0;
	if (files_open(dir, path, &file) == FILES_FOUND) {
		assert(file.type && !fstat(file.fd, &st) && S_ISREG(st.st_mode));
		snprintf(name, sizeof(name), "/proc/self/fd/%d", file.fd);
		n = readlink(name, target, sizeof(target) - 1);
		assert(n > 0);
		target[n] = 0;
		assert(!strncmp(target, below, strlen(below)) && target[strlen(below)] == '/');
		close(file.fd);
	}
	free(path);
	return 0;
}
