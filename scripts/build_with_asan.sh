#!/usr/bin/env bash
# Builds ferrio with AddressSanitizer for one version of Python, into build/asan/VERSION; needs
# a nightly toolchain. with_asan.sh runs a program on it. usage: build_with_asan.sh VERSION PYTHON
set -euo pipefail

version=$1
python=$2
directory=build/asan/$version
host=$(rustc +nightly --version --verbose | sed -n 's/^host: //p')
target_directory=target/asan-$version

echo "Building ferrio with AddressSanitizer for Python $version"
# A target triple, even the host's own, keeps the sanitizer out of build scripts and macros. What is
# compiled in many units of its own is there sooner, and what the sanitizer sees is the same.
CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    PYO3_PYTHON=$python CARGO_TARGET_DIR=$target_directory RUSTFLAGS=-Zsanitizer=address \
    cargo +nightly build --release --locked --quiet --target "$host" -p ferrio-py

rm -rf "$directory"
mkdir -p "$directory"
cp -r python/ferrio "$directory/ferrio"
rm -f "$directory"/ferrio/*.so
suffix=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
cp "$target_directory/$host/release/lib_ferrio.so" "$directory/ferrio/_ferrio$suffix"

# The interpreter is not built with the sanitizer, so its runtime has to be loaded before
# anything else, as a shared library; the toolchain has it only as an archive. The member that
# is left out belongs to executables.
archive=$(rustc +nightly --print target-libdir)/librustc-nightly_rt.asan.a
runtime=$directory/runtime.a
cp "$archive" "$runtime"
ar t "$runtime" | grep preinit | xargs ar d "$runtime"
cc -shared -o "$directory/libasan_runtime.so" \
    -Wl,--whole-archive "$runtime" -Wl,--no-whole-archive -lpthread -ldl -lm -lrt -lgcc_s
rm "$runtime"
