#!/bin/sh
# deps.sh         installs the Debian packages that the build and the local stack need
# deps.sh test    and those of the tests: a browser, Node, a load balancer, readers of YAML and JSON Schema
#
# Only those that are missing: on a complete machine this is one dpkg-query. Needs root or sudo for the rest.
#
# postgresql brings a cluster of its own on port 5432 and nats-server a unit; the stack never uses either of
# them: it starts its own, on its own ports, with its own data.
set -eu

packages='gcc clang clang-format clang-tidy llvm make git pkg-config libc6-dev libclang-rt-14-dev
 nats-server libnats-dev libmicrohttpd-dev libjansson-dev libpq-dev libprotobuf-c-dev protobuf-c-compiler
 protobuf-compiler libcurl4-openssl-dev libssl-dev zlib1g-dev libxxhash-dev liburing-dev libjq-dev libonig-dev check
 postgresql postgresql-client util-linux python3 python3-pytest python3-pytest-timeout python3-pytest-xdist python3-websockets
 python3-protobuf python3-psycopg2 python3-requests python3-jwt python3-cryptography ca-certificates'
if [ "${1-}" = test ]; then
	packages="$packages chromium haproxy python3-jsonschema python3-yaml"
	# A Node that somebody brought along is left alone; Debian's own has no WebSocket yet, but a package of one.
	command -v node >/dev/null || packages="$packages nodejs node-ws"
fi

if ! command -v dpkg-query >/dev/null; then
	echo "deps: this is no Debian; needed are:" $packages >&2
	exit 1
fi

# An unknown package is not in the answer at all, a removed one is there with another status.
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $packages 2>/dev/null || true)
missing=$(printf '%s\n' $packages | while read -r p; do
	printf '%s\n' "$installed" | grep -qxF "installed $p" || echo "$p"
done)
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
	as_root=env
elif command -v sudo >/dev/null; then
	as_root='sudo'
else
	echo "deps: missing packages, and neither root nor sudo to install them. As root, run:" >&2
	echo "  apt-get install --no-install-recommends" $missing >&2
	exit 1
fi

echo "deps: installing" $missing
log=$(mktemp)
trap 'rm -f "$log"' EXIT
run()
{
	$as_root DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1 || {
		cat "$log" >&2
		echo "deps: failed: $*" >&2
		exit 1
	}
}
run apt-get -q -y update
run apt-get -q -y -o Dpkg::Use-Pty=0 install --no-install-recommends $missing
