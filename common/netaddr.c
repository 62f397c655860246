#include "common/netaddr.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

struct block4 {
	uint32_t net;
	int bits;
	enum netaddr_class class;
};

#define IP4(a, b, c, d)                                                                            \
	((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))

/* https://www.iana.org/assignments/iana-ipv4-special-registry */
static const struct block4 blocks4[] = {
    {IP4(0, 0, 0, 0), 8, NETADDR_UNSPECIFIED},
    {IP4(10, 0, 0, 0), 8, NETADDR_PRIVATE},
    {IP4(100, 64, 0, 0), 10, NETADDR_SHARED},
    {IP4(127, 0, 0, 0), 8, NETADDR_LOOPBACK},
    {IP4(169, 254, 0, 0), 16, NETADDR_LINK_LOCAL},
    {IP4(172, 16, 0, 0), 12, NETADDR_PRIVATE},
    {IP4(192, 0, 0, 0), 24, NETADDR_RESERVED},   /* protocol assignments */
    {IP4(192, 0, 2, 0), 24, NETADDR_RESERVED},   /* documentation */
    {IP4(192, 88, 99, 0), 24, NETADDR_RESERVED}, /* 6to4 relays, no more */
    {IP4(192, 168, 0, 0), 16, NETADDR_PRIVATE},
    {IP4(198, 18, 0, 0), 15, NETADDR_RESERVED},   /* benchmarks */
    {IP4(198, 51, 100, 0), 24, NETADDR_RESERVED}, /* documentation */
    {IP4(203, 0, 113, 0), 24, NETADDR_RESERVED},  /* documentation */
    {IP4(224, 0, 0, 0), 4, NETADDR_MULTICAST},
    {IP4(240, 0, 0, 0), 4, NETADDR_RESERVED}, /* and the broadcast */
};

struct block6 {
	uint8_t net[16];
	int bits;
	enum netaddr_class class;
};

/* https://www.iana.org/assignments/iana-ipv6-special-registry; what carries an IPv4 address is
 * below. */
static const struct block6 blocks6[] = {
    {{0xfc}, 7, NETADDR_UNIQUE_LOCAL},
    {{0xfe, 0x80}, 10, NETADDR_LINK_LOCAL},
    {{0xfe, 0xc0}, 10, NETADDR_UNIQUE_LOCAL},
    {{0xff}, 8, NETADDR_MULTICAST},
    {{0x20, 0x01, 0x0d, 0xb8}, 32, NETADDR_RESERVED}, /* documentation */
    {{0x20, 0x01, 0x00, 0x02}, 48, NETADDR_RESERVED}, /* benchmarks */
    {{0x20, 0x01, 0x00, 0x10}, 28, NETADDR_RESERVED}, /* ORCHID */
    {{0x20, 0x01, 0x00, 0x20}, 28, NETADDR_RESERVED}, /* ORCHIDv2 */
    {{0x3f, 0xff}, 20, NETADDR_RESERVED},             /* documentation */
};

/* Where an IPv4 address stands in an IPv6 one; xored: Teredo has it inverted. */
struct carrier {
	uint8_t net[16];
	int bits, at;
	uint32_t xored;
};

static const struct carrier carriers[] = {
    {{[10] = 0xff, [11] = 0xff}, 96, 12, 0},                  /* mapped */
    {{0}, 96, 12, 0},                                         /* compatible */
    {{[8] = 0xff, [9] = 0xff}, 96, 12, 0},                    /* translated (SIIT) */
    {{0x00, 0x64, 0xff, 0x9b}, 96, 12, 0},                    /* NAT64 */
    {{0x20, 0x02}, 16, 2, 0},                                 /* 6to4 */
    {{0x20, 0x01, 0x00, 0x00}, 32, 12, UINT32_C(0xffffffff)}, /* Teredo */
};

static enum netaddr_class class4(uint32_t a)
{
	for (size_t i = 0; i < sizeof(blocks4) / sizeof(*blocks4); i++)
		if ((a ^ blocks4[i].net) >> (32 - blocks4[i].bits) == 0)
			return blocks4[i].class;
	return NETADDR_PUBLIC;
}

static bool begins(const uint8_t *a, const uint8_t *net, int bits)
{
	int rest = bits % 8;
	return memcmp(a, net, (size_t)bits / 8) == 0 &&
	       (!rest || (a[bits / 8] ^ net[bits / 8]) >> (8 - rest) == 0);
}

static enum netaddr_class class6(const uint8_t a[16])
{
	static const uint8_t zero[16], one[16] = {[15] = 1};

	if (!memcmp(a, zero, 16))
		return NETADDR_UNSPECIFIED;
	if (!memcmp(a, one, 16))
		return NETADDR_LOOPBACK;
	for (size_t i = 0; i < sizeof(carriers) / sizeof(*carriers); i++) {
		const struct carrier *c = &carriers[i];
		if (!begins(a, c->net, c->bits))
			continue;
		const uint8_t *p = a + c->at;
		return class4(IP4(p[0], p[1], p[2], p[3]) ^ c->xored);
	}
	for (size_t i = 0; i < sizeof(blocks6) / sizeof(*blocks6); i++)
		if (begins(a, blocks6[i].net, blocks6[i].bits))
			return blocks6[i].class;
	/* Nothing else was ever given out (RFC 4291, section 2.4). 64:ff9b:1::/48 and 100::/64, of
	 * no use outside, are among the rest. */
	return (a[0] & 0xe0) == 0x20 ? NETADDR_PUBLIC : NETADDR_RESERVED;
}

enum netaddr_class netaddr_class(const struct sockaddr *addr, size_t len)
{
	if (len >= sizeof(struct sockaddr_in) && addr->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, addr, sizeof(in));
		return class4(ntohl(in.sin_addr.s_addr));
	}
	if (len >= sizeof(struct sockaddr_in6) && addr->sa_family == AF_INET6) {
		struct sockaddr_in6 in;
		memcpy(&in, addr, sizeof(in));
		return class6(in.sin6_addr.s6_addr);
	}
	return NETADDR_OTHER;
}

const char *netaddr_class_name(enum netaddr_class c)
{
	static const char *const names[] = {"public",   "unspecified", "loopback",     "private",
					    "shared",   "link-local",  "unique-local", "multicast",
					    "reserved", "other"};
	return names[c];
}

static bool is_localhost(const char *host)
{
	size_t n = strlen(host);
	if (n && host[n - 1] == '.')
		n--;
	return n >= 9 && strncasecmp(host + n - 9, "localhost", 9) == 0 &&
	       (n == 9 || host[n - 10] == '.');
}

bool netaddr_private_host(const char *host)
{
	/* inet_aton's spellings too; nothing is asked of any server. */
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM}, *found;

	if (is_localhost(host))
		return true;
	if (getaddrinfo(host, NULL, &hints, &found))
		return false;
	bool private = netaddr_class(found->ai_addr, found->ai_addrlen) != NETADDR_PUBLIC;
	freeaddrinfo(found);
	return private;
}
