#!/usr/bin/env bash
# Builds ferrio's wheel for one version of Python with maturin, into build/wheels/VERSION.
# usage: build_wheel.sh VERSION PYTHON
set -euo pipefail

version=$1
python=$2
wheels=build/wheels/$version

echo "Building ferrio for Python $version ($python)"
rm -rf "$wheels"
# A target directory for each version: the crates that look at Python's headers would
# otherwise be built anew whenever the version changes.
CARGO_TARGET_DIR=target/python-$version .venv/tools/bin/maturin build \
    --profile "${FERRIO_PROFILE:-release}" --locked --interpreter "$python" --compatibility linux --out "$wheels"
