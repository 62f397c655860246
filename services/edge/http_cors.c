/* What lets pages of other origins use the HTTP doors (Fetch standard, 3.2, "CORS protocol"). */
#include <stdlib.h>
#include <string.h>

#include "services/edge/http.h"

char *call_origin(const struct call *c)
{
	return auth_origin(call_header(c, "Origin"));
}

/* A preflight comes without a token, so nobody's list can be asked: it is answered for all, and the
 * request itself is refused. What is refused before it is known whose it is tells no secret, and a
 * page must be able to read it: a 401, a 503 and when to come again. There are no cookies, so
 * nothing is allowed that the page could not do with its token from anywhere. */
void cors_add(const struct call *c, struct MHD_Response *r)
{
	const char *origin = call_header(c, "Origin");

	MHD_add_response_header(r, "Vary", "Origin");
	if (!origin || c->auth.result == AUTH_ORIGIN || strlen(origin) > ORIGIN_MAX)
		return;
	MHD_add_response_header(r, "Access-Control-Allow-Origin", origin);
	if (!call_header(c, "Access-Control-Request-Method")) {
		MHD_add_response_header(
		    r, "Access-Control-Expose-Headers",
		    "Allow, RateLimit, RateLimit-Policy, Retry-After, traceparent");
		return;
	}
	MHD_add_response_header(r, "Access-Control-Allow-Methods", c->allow);
	MHD_add_response_header(
	    r, "Access-Control-Allow-Headers",
	    "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, traceparent");
	MHD_add_response_header(r, "Access-Control-Max-Age", "600");
}
