#include "services/control-plane/version.h"

#include <stdlib.h>
#include <string.h>

int version_parse(struct call *call, const char *text, unsigned *version)
{
	size_t n = strspn(text, "0123456789");
	long value = n && n < 9 && text[0] != '0' ? atol(text) : 0;
	if (text[n] || value < 1 || value > REGISTRY_VERSION_MAX)
		return call_fail(call, 404, "not_found", "a version is a number from 1 to %d",
				 REGISTRY_VERSION_MAX);
	*version = (unsigned)value;
	return 0;
}

int version_free(struct call *call, unsigned last, unsigned version)
{
	if (version <= last)
		return call_fail(call, 409, "conflict",
				 "the next version is %u or later: a number is never used twice",
				 last + 1);
	if (version > REGISTRY_VERSION_MAX)
		return call_fail(call, 409, "conflict", "there are no more than %d versions",
				 REGISTRY_VERSION_MAX);
	return 0;
}
