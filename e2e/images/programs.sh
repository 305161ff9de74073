#!/usr/bin/env bash
# Builds the static programs of packages of the workspace in the current folder, so that their images hold nothing else, and
# prints the folder that they are in.
#   [PLATFORM=..] programs.sh TARGET PACKAGE...    PLATFORM is one of Rust's targets, x86_64-unknown-linux-gnu unless it is set; TARGET is a folder of Cargo's for these alone: with other flags, each build would throw
#                                    away what the last one has made
set -euo pipefail
target=$1
shift
platform=${PLATFORM:-x86_64-unknown-linux-gnu}
if [[ ! -d $(rustc --print target-libdir --target "$platform") ]]; then
    echo "Rust's target $platform is not installed: rustup target add $platform" >&2
    exit 1
fi

packages=()
for package in "$@"; do
    packages+=(--package "$package")
done
RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile image --target "$platform" \
    --target-dir "$target" "${packages[@]}" --bins >&2
echo "$target/$platform/image"
