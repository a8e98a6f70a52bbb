#!/usr/bin/env bash
# Makes the environment of the benchmarks: ferrio and the loops that it is compared with.
# usage: make_bench_environment.sh VERSION PYTHON
set -euo pipefail

version=$1
python=$2
here=$(dirname "$0")

"$here/make_environment.sh" "$python" .venv/bench bench
"$here/install_wheel.sh" "$version" .venv/bench
# rsloop has wheels for some versions of Python only, and building it takes longer than a
# benchmark: where there is none it is left out, and the benchmark says which loops it has.
if ! .venv/bench/bin/python -m pip install --quiet --disable-pip-version-check \
    --only-binary :all: rsloop 2>/dev/null; then
    echo "rsloop has no wheel for Python $version: the benchmarks do without it"
fi
if ! command -v wrk >/dev/null; then
    "$here/install_debian_packages.sh" "wrk, which drives the web servers," wrk ||
        echo "The benchmarks do without the web servers"
fi
