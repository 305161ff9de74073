#!/usr/bin/env bash
# Builds the static programs of packages of the workspace in the current folder, so that their images hold nothing else, and
# prints the folder that they are in.
#   programs.sh TARGET PACKAGE...    TARGET is a folder of Cargo's for these alone: with other flags, each build would throw
#                                    away what the last one has made
set -euo pipefail
target=$1
shift
platform=x86_64-unknown-linux-gnu

packages=()
for package in "$@"; do
    packages+=(--package "$package")
done
RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile image --target "$platform" \
    --target-dir "$target" "${packages[@]}" --bins >&2
echo "$target/$platform/image"
