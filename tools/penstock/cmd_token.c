/* A JSON Web Token of HS256, for tests and for trying things out: the application's own server
 * makes its users' tokens. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base64url.h"
#include "common/json.h"
#include "common/signing.h"
#include "tools/penstock/cli.h"

#define TTL_S 3600
#define WEEK  (7 * 24 * 3600)

static void add_part(struct strbuf *b, json_t *part)
{
	size_t len;
	char *text = json_text(part, &len);

	base64url_add(b, text, len);
	free(text);
	json_decref(part);
}

static void print_token(const char *kid, json_t *claims, const char *secret)
{
	struct strbuf b = {0};
	uint8_t mac[SIGN_HS256_LEN];

	add_part(&b, json_pack("{s:s, s:s, s:s}", "alg", "HS256", "typ", "JWT", "kid", kid));
	strbuf_addc(&b, '.');
	add_part(&b, claims);
	sign_hs256(secret, strlen(secret), b.data, b.len, mac);
	strbuf_addc(&b, '.');
	base64url_add(&b, mac, sizeof(mac));
	strbuf_addc(&b, '\n');
	cli_print(&b);
	strbuf_done(&b);
}

int cmd_token(struct cli *cli, int argc, char **argv)
{
	struct cli_option o[] = {{"--secret", false, NULL},
				 {"--ttl", false, NULL},
				 {"--subscribe", false, NULL},
				 {"--publish", false, NULL},
				 {"--pipelines", false, NULL}};
	struct error err = {0};
	long ttl = TTL_S;
	json_t *claims, *channels;
	char *secret;

	(void)cli;
	if (cli_options(&argc, argv, o, 5, &err) != 0 || argc != 3 ||
	    (o[1].value && cli_int(o[1].value, 1, WEEK, &ttl, &err) != 0) ||
	    !(secret = cli_text(o[0].value ? o[0].value : "-", &err))) {
		fprintf(stderr, "penstock: %s\n", *err.msg ? err.msg : "TENANT KID SUB are wanted");
		return CLI_USAGE;
	}
	channels = json_object();
	if (o[2].value)
		json_object_set_new(channels, "subscribe", cli_words(o[2].value));
	if (o[3].value)
		json_object_set_new(channels, "publish", cli_words(o[3].value));
	claims = json_pack("{s:s, s:s, s:I, s:o}", "tenant", argv[0], "sub", argv[2], "exp",
			   (json_int_t)(time(NULL) + ttl), "channels", channels);
	if (o[4].value)
		json_object_set_new(claims, "pipelines", cli_words(o[4].value));
	print_token(argv[1], claims, secret);
	explicit_bzero(secret, strlen(secret));
	free(secret);
	return CLI_OK;
}
