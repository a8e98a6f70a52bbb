#!/usr/bin/env bash
# Makes sure that interpreters have CPython's own tests, which Debian has in a package apart.
# usage: need_cpython_tests.sh PYTHON…
set -euo pipefail

for python in "$@"; do
    if ! "$python" -c 'import test.test_asyncio' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        "$(dirname "$0")/install_debian_packages.sh" \
            "CPython's own test suite for $python" "libpython$version-testsuite"
    fi
done
