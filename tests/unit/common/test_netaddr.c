/* Every class of addresses, at both ends of its blocks, and what carries one inside another. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "common/netaddr.h"
#include "tests/unit/common/suite.h"

static const char *class_of(const char *text)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
		return netaddr_class_name(netaddr_class((struct sockaddr *)&v4, sizeof(v4)));
	ck_assert_msg(inet_pton(AF_INET6, text, &v6.sin6_addr) == 1, "%s", text);
	return netaddr_class_name(netaddr_class((struct sockaddr *)&v6, sizeof(v6)));
}

struct row {
	const char *address, *class;
};

static void check(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		ck_assert_msg(!strcmp(class_of(rows[i].address), rows[i].class), "%s: %s, not %s",
			      rows[i].address, class_of(rows[i].address), rows[i].class);
}

START_TEST(version_4)
{
	static const struct row rows[] = {
	    {"0.0.0.0", "unspecified"},
	    {"0.255.255.255", "unspecified"},
	    {"1.0.0.0", "public"},
	    {"9.255.255.255", "public"},
	    {"10.0.0.0", "private"},
	    {"10.255.255.255", "private"},
	    {"11.0.0.0", "public"},
	    {"100.63.255.255", "public"},
	    {"100.64.0.0", "shared"},
	    {"100.127.255.255", "shared"},
	    {"100.128.0.0", "public"},
	    {"126.255.255.255", "public"},
	    {"127.0.0.0", "loopback"},
	    {"127.255.255.255", "loopback"},
	    {"128.0.0.0", "public"},
	    {"169.253.255.255", "public"},
	    {"169.254.0.0", "link-local"},
	    {"169.254.169.254", "link-local"},
	    {"169.254.255.255", "link-local"},
	    {"169.255.0.0", "public"},
	    {"172.15.255.255", "public"},
	    {"172.16.0.0", "private"},
	    {"172.31.255.255", "private"},
	    {"172.32.0.0", "public"},
	    {"192.0.0.1", "reserved"},
	    {"192.0.1.0", "public"},
	    {"192.0.2.255", "reserved"},
	    {"192.88.99.1", "reserved"},
	    {"192.167.255.255", "public"},
	    {"192.168.0.0", "private"},
	    {"192.168.255.255", "private"},
	    {"192.169.0.0", "public"},
	    {"198.17.255.255", "public"},
	    {"198.18.0.0", "reserved"},
	    {"198.19.255.255", "reserved"},
	    {"198.20.0.0", "public"},
	    {"198.51.100.7", "reserved"},
	    {"203.0.113.7", "reserved"},
	    {"223.255.255.255", "public"},
	    {"224.0.0.0", "multicast"},
	    {"239.255.255.255", "multicast"},
	    {"240.0.0.0", "reserved"},
	    {"255.255.255.255", "reserved"},
	};
	check(rows, sizeof(rows) / sizeof(*rows));
}
END_TEST

START_TEST(version_6)
{
	static const struct row rows[] = {
	    {"::", "unspecified"},           {"::1", "loopback"},
	    {"2606:4700::1111", "public"},   {"2001:4860:4860::8888", "public"},
	    {"3fff:ffff::1", "public"},      {"3fff::1", "reserved"},
	    {"1fff::1", "reserved"},         {"4000::1", "reserved"},
	    {"100::1", "reserved"},          {"2001:db8::1", "reserved"},
	    {"2001:2::1", "reserved"},       {"2001:10::1", "reserved"},
	    {"2001:2f:ffff::1", "reserved"}, {"fbff::1", "reserved"},
	    {"fc00::1", "unique-local"},     {"fdff:ffff::1", "unique-local"},
	    {"fe00::1", "reserved"},         {"fe80::1", "link-local"},
	    {"febf::1", "link-local"},       {"fec0::1", "unique-local"},
	    {"ff00::1", "multicast"},        {"ff02::1", "multicast"},
	};
	check(rows, sizeof(rows) / sizeof(*rows));
}
END_TEST

START_TEST(one_inside_another)
{
	static const struct row rows[] = {
	    {"::ffff:127.0.0.1", "loopback"},       {"::ffff:10.0.0.1", "private"},
	    {"::ffff:8.8.8.8", "public"},           {"::127.0.0.1", "loopback"},
	    {"::ffff:0:127.0.0.1", "loopback"},     {"64:ff9b::a9fe:a9fe", "link-local"},
	    {"64:ff9b::8.8.8.8", "public"},         {"64:ff9b:1::8.8.8.8", "reserved"},
	    {"2002:7f00:1::1", "loopback"},         {"2002:c0a8:101::1", "private"},
	    {"2002:808:808::1", "public"},          {"2001:0:1:2:3:4:80ff:fffe", "loopback"},
	    {"2001:0:1:2:3:4:f7f7:f7f7", "public"},
	};
	check(rows, sizeof(rows) / sizeof(*rows));
}
END_TEST

START_TEST(no_address)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	ck_assert_int_eq(netaddr_class((struct sockaddr *)&un, sizeof(un)), NETADDR_OTHER);
	ck_assert_int_eq(netaddr_class((struct sockaddr *)&v4, sizeof(v4) - 1), NETADDR_OTHER);
}
END_TEST

START_TEST(hosts)
{
	static const char *const private[] = {
	    "127.0.0.1", "127.1",      "0x7f000001",  "2130706433", "017700000001",   "::1", "0",
	    "localhost", "LocalHost.", "a.localhost", "10.1",       "::ffff:10.1.2.3"};
	static const char *const other[] = {"8.8.8.8", "example.com", "notlocalhost",
					    "2606:4700::1111", "localhost.example.com"};
	for (size_t i = 0; i < sizeof(private) / sizeof(*private); i++)
		ck_assert_msg(netaddr_private_host(private[i]), "%s", private[i]);
	for (size_t i = 0; i < sizeof(other) / sizeof(*other); i++)
		ck_assert_msg(!netaddr_private_host(other[i]), "%s", other[i]);
}
END_TEST

RUN_TESTS("netaddr", version_4, version_6, one_inside_another, no_address, hosts)
