#!/usr/bin/env bash
# Makes sure that the servers are there that the suites of libraries talk to.
# usage: need_servers.sh [LIBRARY…]   (none: all libraries)
set -euo pipefail

here=$(dirname "$0")
wanted=" ${*:-redis asyncpg psycopg} "

if [[ $wanted == *" redis "* ]] && ! command -v redis-server >/dev/null; then
    "$here/install_debian_packages.sh" "A redis server, for redis-py's tests," redis-server
fi
if [[ $wanted == *" asyncpg "* || $wanted == *" psycopg "* ]] \
    && ! command -v initdb >/dev/null && ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
    "$here/install_debian_packages.sh" "PostgreSQL, for asyncpg's and psycopg's tests," postgresql
fi
