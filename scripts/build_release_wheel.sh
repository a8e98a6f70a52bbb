#!/usr/bin/env bash
# Builds ferrio's wheel for one version of Python as it is shipped, into dist/: the profile "dist"
# of Cargo.toml, for the oldest C library that it runs on. With --profile-guided it builds twice:
# first with counters, runs benchmarks on that, then again with what was counted. That needs the
# llvm-profdata of the toolchain itself, because no other need understand its profiles.
# usage: build_release_wheel.sh VERSION PYTHON [--profile-guided]
set -euo pipefail

version=$1
python=$2
here=$(dirname "$0")
tag=cp${version/./}

# maturin build, with these flags for the compiler and these arguments.
build() {
    local flags=$1
    shift
    RUSTFLAGS="${RUSTFLAGS:-} $flags" .venv/tools/bin/maturin build \
        --profile dist --locked --interpreter "$python" "$@"
}

# Runs what the profile is to know: the benchmarks of the loop, its tasks and its transports, each
# in processes of its own that leave their counts behind when they end. Not those that count bytes
# or need other packages.
train() {
    local python=$1 counts=$2 cases
    cases=$("$python" benchmarks/run.py --list | awk '{ print $1 }' |
        grep -vE 'memory|parked|^connection-|service|uvicorn|fastapi|aiohttp' | paste -sd,)
    LLVM_PROFILE_FILE=$counts/%p-%m.profraw "$python" benchmarks/run.py \
        --loops ferrio --rounds 1 --target-ms 50 --cases "$cases"
}

if [[ ${3:-} != --profile-guided ]]; then
    echo "Building the wheel for Python $version ($python)"
    rm -f dist/ferrio-*-"$tag"-*.whl
    CARGO_TARGET_DIR=target/dist-$version build "" --out dist
else
    profdata=$(rustc --print target-libdir)/../bin/llvm-profdata
    if [[ ! -x $profdata ]]; then
        cat >&2 <<MESSAGE
A profile-guided build needs the llvm-profdata that belongs to this toolchain ($(rustc --version)):
    $profdata
is not there. Install it with
    rustup component add llvm-tools
or build without a profile: make wheel
MESSAGE
        exit 1
    fi
    work=$PWD/build/profile/$version
    rm -rf "$work"
    mkdir -p "$work/counts" "$work/wheel"

    echo "Building with counters for Python $version ($python)"
    CARGO_TARGET_DIR=target/profile-generate-$version \
        build "-Cprofile-generate=$work/counts" --compatibility linux --out "$work/wheel"
    "$python" -m venv "$work/environment"
    "$work/environment/bin/python" -m pip install --quiet --disable-pip-version-check \
        --no-index --no-deps "$work"/wheel/*.whl

    echo "Running the benchmarks on it, to count"
    train "$work/environment/bin/python" "$work/counts" >"$work/training.log" 2>&1 || {
        tail -n 20 "$work/training.log" >&2
        exit 1
    }
    "$profdata" merge --output "$work/merged.profdata" "$work"/counts/*.profraw

    echo "Building with what was counted"
    rm -f dist/ferrio-*-"$tag"-*.whl
    CARGO_TARGET_DIR=target/profile-use-$version \
        build "-Cprofile-use=$work/merged.profdata" --out dist
fi

"$here/check_wheel.sh" "$python" dist/ferrio-*-"$tag"-*.whl
