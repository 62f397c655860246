/* What the handshake agrees on: the subprotocol, and permessage-deflate's parameters. */
#include "services/edge/frames.h"
#include "services/edge/terms.h"
#include "tests/unit/common/suite.h"

START_TEST(the_client_has_the_choice)
{
	static const struct {
		const char *offer[2];
		const char *name; /* NULL: none of them is ours */
	} t[] = {
	    {{"penstock.v1.json", NULL}, "penstock.v1.json"},
	    {{"penstock.v1.protobuf", NULL}, "penstock.v1.protobuf"},
	    {{"penstock.v1.protobuf, penstock.v1.json", NULL}, "penstock.v1.protobuf"},
	    {{"chat,\tpenstock.v1.json ,penstock.v1.protobuf", NULL}, "penstock.v1.json"},
	    {{"chat", "penstock.v1.protobuf"}, "penstock.v1.protobuf"},
	    {{"penstock.v1.json", "penstock.v1.protobuf"}, "penstock.v1.json"},
	    {{"penstock.v1.json2, xpenstock.v1.json, penstock.v1", NULL}, NULL},
	    {{"PENSTOCK.V1.JSON", NULL}, NULL}, /* names are case-sensitive */
	    {{" ,,", NULL}, NULL},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		struct ws_terms terms = {0};

		for (size_t k = 0; k < 2 && t[i].offer[k]; k++)
			terms_protocol(&terms, t[i].offer[k]);
		ck_assert_msg(terms.named == (t[i].name != NULL), "%s", t[i].offer[0]);
		ck_assert_str_eq(terms_protocol_name(&terms),
				 t[i].name ? t[i].name : "penstock.v1.json");
	}
}
END_TEST

#define OURS "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

static const struct {
	const char *offer, *answer; /* NULL: declined */
	unsigned window;
} offers[] = {
    {"permessage-deflate", OURS, 15},
    {" permessage-deflate ", OURS, 15},
    {"Permessage-Deflate", OURS, 15},
    {"permessage-deflate; client_max_window_bits", OURS "; client_max_window_bits=15", 15},
    {"permessage-deflate; client_max_window_bits=10", OURS "; client_max_window_bits=10", 15},
    {"permessage-deflate; server_max_window_bits=10", OURS "; server_max_window_bits=10", 10},
    {"permessage-deflate; server_max_window_bits=8", OURS "; server_max_window_bits=8", 8},
    {"permessage-deflate;server_max_window_bits=\"9\" ;client_max_window_bits = 15",
     OURS "; server_max_window_bits=9; client_max_window_bits=15", 9},
    {"permessage-deflate; server_no_context_takeover; client_no_context_takeover", OURS, 15},
    {"foo, permessage-deflate", OURS, 15},
    {"foo; a=b; c=\"d\", permessage-deflate; server_max_window_bits=12",
     OURS "; server_max_window_bits=12", 12},
    /* the first one that is valid */
    {"permessage-deflate; server_max_window_bits=9, permessage-deflate",
     OURS "; server_max_window_bits=9", 9},
    {"permessage-deflate; server_max_window_bits=7, permessage-deflate; client_max_window_bits",
     OURS "; client_max_window_bits=15", 15},
    /* none */
    {"", NULL, 0},
    {"foo", NULL, 0},
    {"permessage-deflate2", NULL, 0},
    {"x-webkit-deflate-frame", NULL, 0},
    {"permessage-deflate; unknown", NULL, 0},
    {"permessage-deflate; server_no_context_takeover=1", NULL, 0},
    {"permessage-deflate; client_no_context_takeover=\"\"", NULL, 0},
    {"permessage-deflate; server_max_window_bits", NULL, 0},
    {"permessage-deflate; server_max_window_bits=", NULL, 0},
    {"permessage-deflate; server_max_window_bits=7", NULL, 0},
    {"permessage-deflate; server_max_window_bits=16", NULL, 0},
    {"permessage-deflate; server_max_window_bits=08", NULL, 0},
    {"permessage-deflate; server_max_window_bits=+9", NULL, 0},
    {"permessage-deflate; server_max_window_bits=9.5", NULL, 0},
    {"permessage-deflate; server_max_window_bits=4294967305", NULL, 0},
    {"permessage-deflate; server_max_window_bits=\"9", NULL, 0},
    {"permessage-deflate; client_max_window_bits=99", NULL, 0},
    {"permessage-deflate; server_max_window_bits=9; server_max_window_bits=9", NULL, 0},
    {"permessage-deflate; client_no_context_takeover; client_no_context_takeover", NULL, 0},
    {"permessage-deflate;", NULL, 0},
    {"permessage-deflate; =9", NULL, 0},
    {"permessage-deflate foo", NULL, 0},
    {"\"permessage-deflate\"", NULL, 0},
};

START_TEST(compression_offers)
{
	for (size_t i = 0; i < sizeof(offers) / sizeof(*offers); i++) {
		struct ws_terms t = {0};
		struct strbuf b = {0};

		terms_extensions(&t, offers[i].offer);
		ck_assert_msg(t.deflate == (offers[i].answer != NULL), "%s", offers[i].offer);
		if (!t.deflate)
			continue;
		terms_add_extensions(&t, &b);
		ck_assert_str_eq(strbuf_str(&b), offers[i].answer);
		ck_assert_uint_eq(t.window_bits, offers[i].window);
		strbuf_done(&b);
	}
}
END_TEST

START_TEST(offers_in_several_headers)
{
	struct ws_terms t = {0};

	terms_extensions(&t, "foo");
	terms_extensions(&t, "permessage-deflate; server_max_window_bits=11");
	terms_extensions(&t, "permessage-deflate; server_max_window_bits=9");
	ck_assert(t.deflate);
	ck_assert_uint_eq(t.window_bits, 11);
}
END_TEST

RUN_TESTS("edge: handshake", the_client_has_the_choice, compression_offers,
	  offers_in_several_headers)
