#!/usr/bin/env bash
# Prints one line VERSION=PATH for every version of CPython that ferrio supports and this
# machine has, newest first. Looks at what `make python-3.14` has made, at python3.X, python3 and
# python on the whole PATH and at pyenv's versions (whose shims need not be on the PATH, and fail
# where the version is not the chosen one). Of several interpreters of one version it takes one that has CPython's own test
# suite, and of those the latest release.
#
# What cannot be used is named on standard error. Exits with 1 when nothing can be used.
set -euo pipefail

made=$(cd "$(dirname "$0")/.." && pwd)/build/python-3.14/usr/bin/python3.14
supported="3.14 3.13 3.12 3.11"

candidates() {
    local directory name
    local -a path
    IFS=: read -ra path <<<"$PATH"
    for directory in "${path[@]}"; do
        # A shim is not an interpreter; the interpreters that it stands for follow below.
        [[ $directory == */shims ]] && continue
        for name in python3.14 python3.13 python3.12 python3.11 python3 python; do
            [[ -x $directory/$name ]] && echo "$directory/$name"
        done
    done
    for name in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[1234].*/bin/python "$made"; do
        [[ -x $name ]] && echo "$name"
    done
    return 0
}

# One line: VERSION, headers or none, suite or none, patch level, PATH (which may have spaces).
describe() {
    "$1" -I - 2>/dev/null <<'PYTHON'
import importlib.util, os, sys, sysconfig

release = sys.version_info
include = sysconfig.get_path("include")
if (
    sys.implementation.name == "cpython"
    and release.releaselevel == "final"
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
    and sys.prefix == sys.base_prefix
):
    headers = os.path.exists(os.path.join(include, "Python.h"))
    test = importlib.util.find_spec("test")
    suite = test is not None and any(
        os.path.isdir(os.path.join(place, "test_asyncio"))
        for place in test.submodule_search_locations or ()
    )
    print(
        f"{release.major}.{release.minor}",
        "headers" if headers else "none",
        "suite" if suite else "none",
        release.micro,
        os.path.realpath(sys.executable),
    )
PYTHON
}

described=$(candidates | while read -r candidate; do describe "$candidate" || true; done | sort -u)
found=""
for version in $supported; do
    best=$(grep "^${version//./\\.} headers " <<<"$described" | sort -k3,3r -k4,4nr | head -n 1 || true)
    if [[ -n $best ]]; then
        found=yes
        echo "$version=$(cut -d' ' -f5- <<<"$best")"
        continue
    fi
    without=$(grep "^${version//./\\.} none " <<<"$described" | head -n 1 | cut -d' ' -f5- || true)
    if [[ -n $without ]]; then
        echo "not used: $without has no headers (Debian: apt-get install python$version-dev)" >&2
    fi
done

if [[ -z $found ]]; then
    cat >&2 <<MESSAGE
No usable Python found. ferrio needs CPython 3.11, 3.12, 3.13 or 3.14 with its headers, as
python3.X on the PATH or in pyenv (${PYENV_ROOT:-$HOME/.pyenv}). For example:
    apt-get install python3-dev python3-venv          Debian 12 or later
    pyenv install 3.13
    make python-3.14                                  a CPython 3.14 in build/, from Debian's packages
MESSAGE
    exit 1
fi
