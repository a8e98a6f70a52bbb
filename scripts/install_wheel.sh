#!/usr/bin/env bash
# Puts the wheel that build_wheel.sh made into the environments of its version.
# usage: install_wheel.sh VERSION ENVIRONMENT…
set -euo pipefail

version=$1
shift
for environment in "$@"; do
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check \
        --no-index --no-deps --force-reinstall build/wheels/"$version"/*.whl
    "$environment/bin/python" -c 'import ferrio; print("Installed", ferrio.__version__, "in", ferrio.__path__[0])'
done
