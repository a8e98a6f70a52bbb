#!/usr/bin/env bash
# Makes sure that there is a Chromium, for the tests of the web page.
set -euo pipefail

here=$(dirname "$0")

if ! command -v chromium >/dev/null; then
    "$here/install_debian_packages.sh" "Chromium, for the tests of the web page," chromium
fi
