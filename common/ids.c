/* The low-level SHA256_* calls cost a tenth of fetching a digest through EVP; OpenSSL 3 keeps them,
 * under the API level in which they were introduced. */
#define OPENSSL_API_COMPAT      10100
#define XXH_STATIC_LINKING_ONLY /* the state's size */
#include "common/ids.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#include "common/base64url.h"

static const char hex_digit[] = "0123456789abcdef";

static void put_hex(char *to, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		*to++ = hex_digit[bytes[i] >> 4];
		*to++ = hex_digit[bytes[i] & 15];
	}
}

static void put_be64(uint8_t *to, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		to[i] = (uint8_t)(v >> (56 - 8 * i));
}

/* RFC 9562, 4.1 and 4.2: version in the high half of byte 6, variant 10 in the top bits of byte 8.
 */
static struct id id_of_bytes(uint8_t bytes[16], unsigned version)
{
	static const unsigned char group[] = {4, 2, 2, 2, 6};
	struct id id;
	char *to = id.text;

	bytes[6] = (uint8_t)((bytes[6] & 0x0f) | (version << 4));
	bytes[8] = (uint8_t)((bytes[8] & 0x3f) | 0x80);
	for (size_t g = 0; g < sizeof(group); g++) {
		put_hex(to, bytes, group[g]);
		bytes += group[g];
		to += 2 * group[g];
		*to++ = '-';
	}
	id.text[ID_LEN] = '\0';
	return id;
}

struct id id_new(struct rng *rng, int64_t wall_us)
{
	uint8_t bytes[16];

	put_be64(bytes, (uint64_t)(wall_us / 1000) << 16 | (rng_next(rng) & 0xffff));
	put_be64(bytes + 8, rng_next(rng));
	return id_of_bytes(bytes, 7);
}

struct id id_derive(const char *tenant, const char *scope, const char *name)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	SHA256_CTX ctx;

	SHA256_Init(&ctx);
	SHA256_Update(&ctx, tenant, strlen(tenant) + 1); /* NULs included: they separate */
	SHA256_Update(&ctx, scope, strlen(scope) + 1);
	SHA256_Update(&ctx, name, strlen(name));
	SHA256_Final(digest, &ctx);
	return id_of_bytes(digest, 8);
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

bool id_valid(const char *text)
{
	size_t i;

	if (!text)
		return false;
	for (i = 0; i < ID_LEN; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' : !is_hex(text[i]))
			return false;
	}
	return text[i] == '\0';
}

uint64_t digest64(const struct digest_part *parts, size_t n)
{
	XXH3_state_t state;

	XXH3_64bits_reset(&state);
	for (size_t i = 0; i < n; i++) {
		uint8_t prefix[8];

		put_be64(prefix, parts[i].len);
		XXH3_64bits_update(&state, prefix, sizeof(prefix));
		XXH3_64bits_update(&state, parts[i].data, parts[i].len);
	}
	return XXH3_64bits_digest(&state);
}

void sha256_hex(const void *data, size_t len, char out[65])
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	SHA256_CTX ctx;

	SHA256_Init(&ctx);
	SHA256_Update(&ctx, data, len);
	SHA256_Final(digest, &ctx);
	put_hex(out, digest, sizeof(digest));
	out[64] = '\0';
}

static void fill_random(uint8_t *to, size_t n)
{
	while (n) {
		ssize_t got = getrandom(to, n, 0);

		/* Only EINTR is possible here; anything else means no secret can be made. */
		if (got < 0)
			continue;
		to += got;
		n -= (size_t)got;
	}
}

void secret_random(size_t n, char *out)
{
	uint8_t block[48];

	*out = '\0';
	for (size_t take; n; n -= take) {
		take = n < sizeof(block) ? n : sizeof(block);
		fill_random(block, take);
		base64url_encode(block, take, out);
		out += BASE64URL_LEN(take);
	}
	explicit_bzero(block, sizeof(block));
}

/* The lengths may be told apart, the contents not: what is compared are digests or fixed-length
 * secrets. */
bool secret_equal(const char *a, const char *b)
{
	size_t n = strlen(a);

	return n == strlen(b) && CRYPTO_memcmp(a, b, n) == 0;
}

/* All of [from, to) lower-case hex; *zero: nothing but '0'. */
static bool hex_field(const char *text, size_t from, size_t to, bool *zero)
{
	*zero = true;
	for (size_t i = from; i < to; i++) {
		if (!is_hex(text[i]))
			return false;
		*zero = *zero && text[i] == '0';
	}
	return true;
}

/* W3C Trace Context, 3.2: version ff and all-zero ids are invalid. */
bool trace_valid(const char *p)
{
	bool zero;

	return p && strnlen(p, TRACE_LEN + 1) == TRACE_LEN && hex_field(p, 0, 2, &zero) &&
	       memcmp(p, "ff", 2) != 0 && p[2] == '-' && hex_field(p, 3, 35, &zero) && !zero &&
	       p[35] == '-' && hex_field(p, 36, 52, &zero) && !zero && p[52] == '-' &&
	       hex_field(p, 53, 55, &zero);
}

static void put_random_hex(struct rng *rng, char *to)
{
	uint8_t bytes[8];
	uint64_t v;

	do
		v = rng_next(rng);
	while (v == 0);
	put_be64(bytes, v);
	put_hex(to, bytes, sizeof(bytes));
}

void trace_new(struct rng *rng, char out[TRACE_LEN + 1])
{
	memcpy(out, "00-", 3);
	put_random_hex(rng, out + 3);
	put_random_hex(rng, out + 19);
	out[35] = '-';
	put_random_hex(rng, out + 36);
	memcpy(out + 52, "-01", 4);
}

void trace_child(struct rng *rng, const char *parent, char out[TRACE_LEN + 1])
{
	if (!trace_valid(parent)) {
		trace_new(rng, out);
		return;
	}
	memmove(out, parent, TRACE_LEN + 1); /* parent may be out */
	memcpy(out, "00", 2);
	put_random_hex(rng, out + 36);
}

static void put_digits(char *to, unsigned v, int n)
{
	while (n--) {
		to[n] = (char)('0' + v % 10);
		v /= 10;
	}
}

/* Days to year, month, day: Hinnant, "chrono-compatible low-level date algorithms",
 * civil_from_days. */
void time_format(int64_t wall_us, char out[TIME_LEN + 1])
{
	int64_t day_us = INT64_C(86400000000);
	int64_t days = wall_us / day_us - (wall_us % day_us < 0);
	int64_t rest = wall_us - days * day_us;
	int64_t z = days + 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	unsigned doe = (unsigned)(z - era * 146097);
	unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	unsigned mp = (5 * doy + 2) / 153;
	unsigned month = mp < 10 ? mp + 3 : mp - 9;
	int64_t year = (int64_t)yoe + era * 400 + (month <= 2);
	unsigned seconds = (unsigned)(rest / 1000000);

	memcpy(out, "0000-00-00T00:00:00.000000Z", TIME_LEN + 1);
	put_digits(out, (unsigned)year, 4);
	put_digits(out + 5, month, 2);
	put_digits(out + 8, doy - (153 * mp + 2) / 5 + 1, 2);
	put_digits(out + 11, seconds / 3600, 2);
	put_digits(out + 14, seconds / 60 % 60, 2);
	put_digits(out + 17, seconds % 60, 2);
	put_digits(out + 20, (unsigned)(rest % 1000000), 6);
}

/* Days since 1970 of a date of the Gregorian calendar. Source: "chrono-Compatible Low-Level Date
 * Algorithms", Howard Hinnant, days_from_civil. */
static int64_t days_of(int64_t y, int64_t m, int64_t d)
{
	y -= m <= 2;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t yoe = y - era * 400;
	int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
	int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
	return era * 146097 + doe - 719468;
}

static bool take_digits(const char **p, int n, int64_t *out)
{
	*out = 0;
	for (int i = 0; i < n; i++, (*p)++) {
		if (!isdigit((unsigned char)**p))
			return false;
		*out = *out * 10 + (**p - '0');
	}
	return true;
}

static bool one_of(const char **p, const char *chars)
{
	if (!**p || !strchr(chars, **p))
		return false;
	(*p)++;
	return true;
}

/* ".123456789": microseconds, further digits are cut off. */
static bool fraction(const char **p, int64_t *us)
{
	*us = 0;
	if (!one_of(p, "."))
		return true;
	if (!isdigit((unsigned char)**p))
		return false;
	for (int64_t unit = 100000; isdigit((unsigned char)**p); (*p)++, unit /= 10)
		*us += (**p - '0') * unit;
	return true;
}

static bool offset_minutes(const char **p, int64_t *minutes)
{
	int64_t hour, minute, sign = **p == '-' ? -1 : 1;
	*minutes = 0;
	if (one_of(p, "Zz"))
		return true;
	if (!one_of(p, "+-") || !take_digits(p, 2, &hour) || !one_of(p, ":") ||
	    !take_digits(p, 2, &minute) || hour > 23 || minute > 59)
		return false;
	*minutes = sign * (hour * 60 + minute);
	return true;
}

bool time_parse(const char *text, int64_t *wall_us)
{
	static const int month_days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	const char *p = text;
	int64_t y, mo, d, h, mi, s, us, zone;
	if (!take_digits(&p, 4, &y) || !one_of(&p, "-") || !take_digits(&p, 2, &mo) ||
	    !one_of(&p, "-") || !take_digits(&p, 2, &d) || !one_of(&p, "Tt ") ||
	    !take_digits(&p, 2, &h) || !one_of(&p, ":") || !take_digits(&p, 2, &mi) ||
	    !one_of(&p, ":") || !take_digits(&p, 2, &s) || !fraction(&p, &us) ||
	    !offset_minutes(&p, &zone) || *p)
		return false;
	bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
	if (mo < 1 || mo > 12 || d < 1 || d > month_days[mo - 1] || (mo == 2 && d == 29 && !leap) ||
	    h > 23 || mi > 59 || s > 60)
		return false;
	int64_t seconds = days_of(y, mo, d) * 86400 + h * 3600 + mi * 60 + s - zone * 60;
	*wall_us = seconds * 1000000 + us;
	return true;
}
