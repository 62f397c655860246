#include "common/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct error *err, enum err_code code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return -1;
	err->code = code;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	return -1;
}

int err_wrap(struct error *err, const char *fmt, ...)
{
	char context[sizeof(err->msg) / 2];
	size_t room = sizeof(err->msg) - 1;
	size_t front, cause;
	va_list ap;

	if (!err)
		return -1;
	va_start(ap, fmt);
	vsnprintf(context, sizeof(context) - 2, fmt, ap);
	va_end(ap);
	front = strlen(context);
	context[front++] = ':';
	context[front++] = ' ';
	/* What does not fit is cut at the end of the cause. */
	cause = strnlen(err->msg, room - front);
	memmove(err->msg + front, err->msg, cause);
	memcpy(err->msg, context, front);
	err->msg[front + cause] = '\0';
	return -1;
}

const char *err_code_name(enum err_code code)
{
	switch (code) {
	case ERR_NONE:
		return "none";
	case ERR_TRANSIENT:
		return "transient";
	case ERR_CONFLICT:
		return "conflict";
	case ERR_REJECTED:
		return "rejected";
	case ERR_FATAL:
		return "fatal";
	}
	return "unknown";
}
