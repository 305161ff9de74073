#!/usr/bin/env bash
# run.sh [PART ..]: measures the gateway as it is released beside HAProxy (REPETITIONS=7), and prints the tables of
# docs/benchmarks.md. HAProxy is installed from the distribution if it is not there; that needs root.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v haproxy >/dev/null; then
    apt-get -o DPkg::Lock::Timeout=500 update >&2
    # Run level 1: nothing is started that a package brings along.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=500 install -y \
        --no-install-recommends haproxy >&2
fi

target=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")
platform=x86_64-unknown-linux-gnu
# As for the image, and where that is built.
RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile image --target "$platform" \
    --target-dir "$target/static" --package memgraph-operator --package gateway-bench --bins >&2
programs=$target/static/$platform/image
exec "$programs/gateway-bench" "$programs/memgraph-operator" "$@"
