#!/usr/bin/env bash
# Makes a virtual environment with pinned requirements, or brings one up to date.
# usage: make_environment.sh PYTHON DIRECTORY REQUIREMENTS…
set -euo pipefail

python=$1
directory=$2
shift 2
here=$(dirname "$0")

if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$here/install_debian_packages.sh" "$python's venv module" "python$version-venv"
fi

# An environment of an interpreter that has been upgraded or removed since is of no use.
if ! "$directory/bin/python" -c 'import pip' 2>/dev/null; then
    echo "Making $directory with $python"
    "$python" -m venv --clear "$directory"
fi

arguments=()
for requirements in "$@"; do
    arguments+=(--requirement "requirements/$requirements.txt")
done
echo "Installing ${*/%/.txt} into $directory"
"$directory/bin/python" -m pip install --quiet --disable-pip-version-check \
    --prefer-binary "${arguments[@]}"
