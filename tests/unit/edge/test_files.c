/* The door for files: what a path may name, and that none leads out of the folder. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "services/edge/files.h"
#include "tests/unit/common/remove.h"
#include "tests/unit/common/suite.h"

static char base[64];
static int dir;

static void write_file(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", base, name);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

static void make(const char *what, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", base, name);
	ck_assert_int_eq(strcmp(what, "fifo") ? mkdir(path, 0700) : mkfifo(path, 0600), 0);
}

static void setup(void)
{
	strcpy(base, "/tmp/penstock-files-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(base));
	make("folder", "www");
	make("folder", "www/sub");
	make("folder", "www/.git");
	write_file("secret.html", "secret");
	write_file("www/index.html", "hello");
	write_file("www/a.js", "1");
	write_file("www/sub/index.html", "below");
	write_file("www/sub/b.css", "x");
	write_file("www/.hidden.html", "no");
	write_file("www/.git/config.json", "no");
	write_file("www/key.pem", "no");
	write_file("www/noending", "no");
	make("fifo", "www/pipe.html");
	make("folder", "www/folder.html");
	{
		char to[128], at[128];

		snprintf(to, sizeof(to), "%s/secret.html", base);
		snprintf(at, sizeof(at), "%s/www/link.html", base);
		ck_assert_int_eq(symlink(to, at), 0);
		snprintf(at, sizeof(at), "%s/www/out", base);
		ck_assert_int_eq(symlink(base, at), 0);
		snprintf(at, sizeof(at), "%s/www", base);
		dir = open(at, O_RDONLY | O_DIRECTORY);
	}
	ck_assert_int_ge(dir, 0);
}

static void teardown(void)
{
	close(dir);
	ck_assert_int_eq(remove_folder(base), 0);
}

/* The content, or "-" for none and "/" for a folder. */
static const char *get(const char *path)
{
	static char text[64];
	struct files_file f = {.fd = -1};
	ssize_t n;

	switch (files_open(dir, path, &f)) {
	case FILES_NONE:
		return "-";
	case FILES_FOLDER:
		return "/";
	case FILES_FOUND:
		break;
	}
	n = read(f.fd, text, sizeof(text) - 1);
	close(f.fd);
	ck_assert_int_eq(n, (ssize_t)f.size);
	ck_assert_ptr_nonnull(f.type);
	text[n] = 0;
	return text;
}

START_TEST(test_files)
{
	ck_assert_str_eq(get("/"), "hello");
	ck_assert_str_eq(get("/index.html"), "hello");
	ck_assert_str_eq(get("/a.js"), "1");
	ck_assert_str_eq(get("/sub/"), "below");
	ck_assert_str_eq(get("/sub/b.css"), "x");
	ck_assert_str_eq(get("/sub"), "/");
	ck_assert_str_eq(get("/none.html"), "-");
	ck_assert_str_eq(get("/sub/none/"), "-");
	ck_assert_str_eq(get("/a.js/"), "-");
}
END_TEST

START_TEST(test_no_way_out)
{
	static const char *const paths[] = {
	    "",
	    "index.html",
	    "//index.html",
	    "//",
	    "/../secret.html",
	    "/sub/../index.html",
	    "/sub/../../secret.html",
	    "/./index.html",
	    "/..",
	    "/sub/..",
	    "/...",
	    "/out/secret.html",
	    "/out/www/index.html",
	    "/link.html",
	    "/.hidden.html",
	    "/.git/config.json",
	    "/key.pem",
	    "/noending",
	    "/sub\\b.css",
	    "/a.js\n",
	    "/a.js?x",
	    "/%2e%2e/secret.html",
	    "/a js",
	    "/sub//b.css",
	};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		ck_assert_msg(!strcmp(get(paths[i]), "-"), "%s", paths[i]);
}
END_TEST

START_TEST(test_what_is_no_file)
{
	ck_assert_str_eq(get("/pipe.html"), "-"); /* and it does not wait for a writer */
	ck_assert_str_eq(get("/folder.html"), "/");
	ck_assert_str_eq(get("/folder.html/"), "-");
}
END_TEST

START_TEST(test_long_paths)
{
	char path[FILES_PATH_MAX + 2];

	memset(path, 'a', sizeof(path));
	path[0] = '/';
	path[FILES_PATH_MAX] = 0;
	ck_assert_str_eq(get(path), "-");
	path[FILES_PATH_MAX - 1] = 0;
	ck_assert_str_eq(get(path), "-");
	for (size_t i = 1; i < FILES_PATH_MAX - 1; i += 2)
		path[i] = '/';
	ck_assert_str_eq(get(path), "-");
}
END_TEST

START_TEST(test_types)
{
	ck_assert_str_eq(files_type("a.b.js"), "text/javascript; charset=utf-8");
	ck_assert_str_eq(files_type("x.html"), "text/html; charset=utf-8");
	ck_assert_ptr_null(files_type("x.js.map"));
	ck_assert_ptr_null(files_type("x.JS"));
	ck_assert_ptr_null(files_type("js"));
	ck_assert_ptr_null(files_type(""));
}
END_TEST

RUN_TESTS_WITH("files", setup, teardown, test_files, test_no_way_out, test_what_is_no_file,
	       test_long_paths, test_types)
