#!/usr/bin/env bash
# Says what this machine lacks to build Rust, before anything is begun that would end with it.
set -euo pipefail
cd "$(dirname "$0")/.."

needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)

stop() {
    printf '%s\n' "$@" >&2
    exit 1
}

if ! command -v cargo >/dev/null; then
    if [[ -x $HOME/.cargo/bin/cargo ]]; then
        stop "cargo is in $HOME/.cargo/bin, which is not on the PATH:" \
            "    source $HOME/.cargo/env"
    fi
    stop "ferrio is built with Rust $needed or later, and there is no cargo on the PATH." \
        "Get it from https://rustup.rs, or from your distribution if that is new enough."
fi
found=$(cargo --version | cut -d' ' -f2)
if [[ $(printf '%s\n' "$needed" "$found" | sort --version-sort | head -n 1) != "$needed" ]]; then
    stop "ferrio needs Rust $needed or later, and this is cargo $found:" \
        "    rustup update"
fi
if ! command -v cc >/dev/null; then
    stop "Rust links with the C compiler, and there is no cc on the PATH:" \
        "    apt-get install gcc libc6-dev          Debian"
fi
