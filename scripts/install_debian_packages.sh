#!/usr/bin/env bash
# Installs Debian packages that something needs, saying so first: the only place where ferrio's
# tooling uses root. usage: install_debian_packages.sh WHAT-FOR PACKAGE…
set -euo pipefail

purpose=$1
shift

if ! command -v apt-get >/dev/null; then
    echo "$purpose: please install what Debian calls $*" >&2
    exit 1
fi

command=(apt-get install --yes --no-install-recommends "$@")
if [[ $(id -u) != 0 ]]; then
    command=(sudo "${command[@]}")
fi
echo "$purpose is missing. Running: ${command[*]}"
"${command[@]}"
