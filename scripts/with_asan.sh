#!/usr/bin/env bash
# Runs a Python program on the ferrio that build_with_asan.sh built.
# usage: with_asan.sh VERSION PROGRAM…
set -euo pipefail

version=$1
shift
directory=$PWD/build/asan/$version

# Leaks are not looked for: an interpreter leaves much behind when it ends. Python's own
# allocator would hide from the sanitizer what is done with objects, so malloc stands in.
exec env \
    ASAN_OPTIONS="detect_leaks=0:handle_segv=2:${ASAN_OPTIONS:-}" \
    LD_PRELOAD="$directory/libasan_runtime.so" \
    PYTHONMALLOC=malloc \
    PYTHONPATH="$directory${PYTHONPATH:+:$PYTHONPATH}" \
    "$@"
