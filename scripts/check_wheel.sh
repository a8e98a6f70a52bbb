#!/usr/bin/env bash
# Installs a wheel as a user would, into a new environment outside of this tree, and runs it.
# usage: check_wheel.sh PYTHON WHEEL
set -euo pipefail

python=$1
wheel=$(realpath "$2")
here=$(realpath "$(dirname "$0")")

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"$python" -m venv environment
environment/bin/python -m pip install --quiet --disable-pip-version-check --no-index "$wheel"
environment/bin/python -I "$here/check_wheel.py" "$wheel"
