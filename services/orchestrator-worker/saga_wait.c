/* The stage kind `wait`: until when. */
#include "common/json.h"
#include "services/orchestrator-worker/saga.h"

#define WAIT_MAX_MS (366 * INT64_C(86400000))

static int read(const json_t *input, int64_t since, int64_t *until, struct error *err)
{
	static const char *const members[] = {"ms", "until", NULL};
	int64_t ms = -1, at = -1;
	if (json_is_number(input))
		ms = json_number_value(input) <= (double)WAIT_MAX_MS
			 ? (int64_t)json_number_value(input)
			 : WAIT_MAX_MS + 1;
	else if (json_only(input, members, err) ||
		 json_get_int(input, "ms", false, 0, WAIT_MAX_MS, &ms, err) ||
		 json_get_int(input, "until", false, 0, since + WAIT_MAX_MS, &at, err))
		return -1;
	if ((ms < 0) == (at < 0) || ms > WAIT_MAX_MS)
		return err_set(err, ERR_REJECTED,
			       "the input of wait must be milliseconds, {ms}, or {until}");
	*until = at >= 0 ? at : since + ms;
	return 0;
}

int saga_wait_until(const char *text, size_t len, int64_t since, int64_t *until, struct error *err)
{
	json_t *input = json_parse(text, len, err);
	if (input == NULL)
		return -1;
	int bad = json_is_object(input) || json_is_number(input)
		      ? read(input, since, until, err)
		      : err_set(err, ERR_REJECTED,
				"the input of wait must be milliseconds, {ms}, or {until}");
	json_decref(input);
	return bad;
}
