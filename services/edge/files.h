/* Files of one folder for the web: which path names one, and opening it without leaving the folder.
 *
 * A path is made of names of letters, digits, '-', '_' and '.', that do not begin with a dot; "/"
 * at its end means index.html. Only the kinds of file that a page is made of are served. Symbolic
 * links are not followed, neither to folders nor to files. Threads: any. */
#ifndef PENSTOCK_EDGE_FILES_H
#define PENSTOCK_EDGE_FILES_H

#include <stddef.h>
#include <stdint.h>

#define FILES_PATH_MAX 256
#define FILES_SIZE_MAX (16U << 20)

enum files_result {
	FILES_NONE,   /* there is no such file */
	FILES_FOLDER, /* it is a folder, asked for without the "/" at its end */
	FILES_FOUND,
};

struct files_file {
	int fd; /* the caller's */
	uint64_t size;
	const char *type; /* Content-Type */
};

/* Content-Type by the name's ending; NULL: a kind that is not served. */
const char *files_type(const char *name);
/* dir: descriptor of the folder. path: from "/" on, its escapes already resolved. */
enum files_result files_open(int dir, const char *path, struct files_file *out);

#endif
