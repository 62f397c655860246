/* Which part of the internet an address belongs to: what an operator's URL may reach, and what a
 * tenant's may not.
 *
 * After the registries of special-purpose addresses (IANA, RFC 6890 and its updates). An IPv6
 * address that carries an IPv4 one (mapped, compatible, NAT64, 6to4, Teredo) is judged by what it
 * carries as well: it is public only if that is. Pure; threads: any. */
#ifndef PENSTOCK_NETADDR_H
#define PENSTOCK_NETADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

enum netaddr_class {
	NETADDR_PUBLIC,
	NETADDR_UNSPECIFIED,  /* 0.0.0.0/8, :: */
	NETADDR_LOOPBACK,     /* 127/8, ::1 */
	NETADDR_PRIVATE,      /* 10/8, 172.16/12, 192.168/16 */
	NETADDR_SHARED,       /* 100.64/10: behind a carrier's NAT */
	NETADDR_LINK_LOCAL,   /* 169.254/16 (a cloud's metadata among it), fe80::/10 */
	NETADDR_UNIQUE_LOCAL, /* fc00::/7, and fec0::/10, which it replaced */
	NETADDR_MULTICAST,    /* 224/4, ff00::/8 */
	NETADDR_RESERVED,     /* documentation, benchmarks, protocols, 240/4, broadcast, others */
	NETADDR_OTHER,        /* no address of IP */
};

enum netaddr_class netaddr_class(const struct sockaddr *addr, size_t len);
const char *netaddr_class_name(enum netaddr_class c);

/* The host of a URL is an address, in any spelling that resolvers take for one (127.1, 0x7f000001),
 * and not a public one; or it is a name that means this host (localhost). Names are not resolved.
 * host: without brackets. */
bool netaddr_private_host(const char *host);

#endif
