#!/usr/bin/env bash
# Makes the environment of the benchmarks: ferrio and the loops that it is compared with.
# usage: make_bench_environment.sh VERSION PYTHON
set -euo pipefail

version=$1
python=$2
here=$(dirname "$0")

environment=.venv/bench-$version
"$here/make_environment.sh" "$python" "$environment" bench
"$here/install_wheel.sh" "$version" "$environment"
# These have wheels for some versions of Python only, and building them takes longer than a
# benchmark: where there is none they are left out, and the benchmark says which loops it has.
for loop in rsloop zuvloop aiofastnet; do
    if ! "$environment/bin/python" -m pip install --quiet --disable-pip-version-check \
        --only-binary :all: "$loop" 2>/dev/null; then
        echo "$loop has no wheel for Python $version: the benchmarks do without it"
    fi
done
if ! command -v wrk >/dev/null; then
    "$here/install_debian_packages.sh" "wrk, which drives the web servers," wrk ||
        echo "The benchmarks do without the web servers"
fi
