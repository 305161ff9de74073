#!/usr/bin/env bash
# Measures the operator with very many clusters, as it is released, and prints the table of docs/benchmarks.md. Needs root.
# CLUSTERS=1000 GATEWAYS=2 PARTS="rest start failover foreign"
set -euo pipefail
cd "$(dirname "$0")/../.."

cargo build --locked --release --package memgraph-operator --package operator-bench \
    --package e2e-cluster --bins >&2
programs=$(realpath "${CARGO_TARGET_DIR:-target}")/release
exec "$programs/operator-bench" "$programs/memgraph-operator"
