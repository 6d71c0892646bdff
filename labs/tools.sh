#!/bin/sh
# Is there a cargo that can build this, and a C linker? Everything else is installed when it is needed.
set -eu

wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
advice="install Rust $wanted or newer with rustup (https://rustup.rs), or Debian's package rustup"

if ! command -v cargo >/dev/null; then
    echo "cargo is missing: $advice" >&2
    exit 1
fi
found=$(cargo --version | cut -d ' ' -f 2)
oldest=$(printf '%s\n%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1)
if [ "$oldest" != "$wanted" ]; then
    echo "cargo $found is too old, $wanted is the oldest that will do: $advice" >&2
    exit 1
fi
if ! command -v cc >/dev/null; then
    echo "installing gcc, which cargo links with" >&2
    apt-get update -q >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends gcc libc6-dev >&2
fi
