#include "services/edge/files.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
	const char *ending, *type;
} types[] = {
    {".html", "text/html; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".json", "application/json"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".ico", "image/x-icon"},
    {".woff2", "font/woff2"},
};

const char *files_type(const char *name)
{
	const char *ending = strrchr(name, '.');

	for (size_t i = 0; ending && i < sizeof(types) / sizeof(types[0]); i++)
		if (!strcmp(types[i].ending, ending))
			return types[i].type;
	return NULL;
}

static bool valid_name(const char *name, size_t len)
{
	static const char allowed[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";

	return len > 0 && name[0] != '.' && strspn(name, allowed) >= len;
}

/* The file itself: never a device or a pipe, on which opening or reading would wait. */
static enum files_result open_file(int dir, const char *name, struct files_file *out)
{
	struct stat st;
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	bool folder;

	if (fd < 0)
		return FILES_NONE;
	if (fstat(fd, &st)) {
		close(fd);
		return FILES_NONE;
	}
	folder = S_ISDIR(st.st_mode);
	out->type = files_type(name);
	if (!S_ISREG(st.st_mode) || !out->type || st.st_size > (off_t)FILES_SIZE_MAX) {
		close(fd);
		return folder ? FILES_FOLDER : FILES_NONE;
	}
	out->fd = fd;
	out->size = (uint64_t)st.st_size;
	return FILES_FOUND;
}

/* One name after the other, each below the folder of the last one: no path can lead out. */
enum files_result files_open(int dir, const char *path, struct files_file *out)
{
	char name[FILES_PATH_MAX];
	enum files_result result = FILES_NONE;
	int at = -1;

	if (path[0] != '/' || strlen(path) >= FILES_PATH_MAX)
		return FILES_NONE;
	for (path++;;) {
		size_t len = strcspn(path, "/");
		int next;

		if (!len && !*path) {
			result = open_file(at < 0 ? dir : at, "index.html", out);
			break;
		}
		if (!valid_name(path, len))
			break;
		memcpy(name, path, len);
		name[len] = 0;
		path += len;
		if (!*path) {
			result = open_file(at < 0 ? dir : at, name, out);
			break;
		}
		path++;
		next = openat(at < 0 ? dir : at, name,
			      O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (at >= 0)
			close(at);
		at = next;
		if (at < 0)
			break;
	}
	if (at >= 0)
		close(at);
	return result;
}
