#!/bin/sh
# Turns numbered SQL files into a C table: struct migration penstock_migrations[] (common/migrate.h).
set -eu
echo '#include "common/migrate.h"'
echo 'const struct migration penstock_migrations[] = {'
for f in "$@"; do
	b=$(basename "$f" .sql)
	printf '{%d, "%s",\n' "$(echo "${b%%_*}" | sed 's/^0*//')" "$b"
	sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/"/' -e 's/$/\\n"/' "$f"
	echo '},'
done
echo '{0, 0, 0}};'
