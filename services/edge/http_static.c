/* The files of PENSTOCK_EDGE_STATIC_DIR, if there is one: a page for the local stack, and the
 * client module that it loads. They need no token, and have none. */
#include <string.h>
#include <unistd.h>

#include "services/edge/files.h"
#include "services/edge/http.h"

/* Nothing from elsewhere and no inline script; sockets to any host, for a drain moves a client to
 * another edge. */
#define POLICY                                                                                     \
	"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "          \
	"font-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; "      \
	"frame-ancestors 'none'"

static void folder(struct call *c, const char *path)
{
	struct strbuf to = {0};

	c->file = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
	/* Its last part alone: "//host" would be another host. */
	strbuf_adds(&to, strrchr(path, '/') + 1);
	strbuf_addc(&to, '/');
	MHD_add_response_header(c->file, "Location", strbuf_str(&to));
	strbuf_done(&to);
	call_reply(c, MHD_HTTP_MOVED_PERMANENTLY);
}

bool http_static(struct call *c, int dir, const char *method, const char *path)
{
	struct files_file file;

	if (dir < 0)
		return false;
	switch (files_open(dir, path, &file)) {
	case FILES_NONE:
		return false;
	case FILES_FOLDER:
		folder(c, path);
		return true;
	case FILES_FOUND:
		break;
	}
	if (strcmp(method, "GET") && strcmp(method, "HEAD")) {
		close(file.fd);
		strcpy(c->allow, "GET, HEAD");
		return false;
	}
	c->file = MHD_create_response_from_fd64(file.size, file.fd); /* closes it */
	MHD_add_response_header(c->file, "Content-Security-Policy", POLICY);
	MHD_add_response_header(c->file, "X-Content-Type-Options", "nosniff");
	MHD_add_response_header(c->file, "Referrer-Policy", "no-referrer");
	call_reply(c, MHD_HTTP_OK);
	c->type = file.type;
	return true;
}
