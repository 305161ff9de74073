#!/usr/bin/env bash
# Makes what `make e2e-upgrade` upgrades from, after build.sh: an earlier version of the operator with its chart and its
# manifests, and the simulator as an earlier release of Memgraph. Prints the folder that they are in.
#   earlier.sh [COMMIT]    of the operator. Without it, the last one with another operator than the folder that this is in
set -euo pipefail
cd "$(dirname "$0")/../.."

target=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")
earlier=$target/earlier
memgraph=3.11
# What the operator's program is made of.
sources=(src Cargo.toml Cargo.lock ':(exclude)src/**/tests/**' ':(exclude)src/**/tests.rs')

last_other_operator() {
    local last
    if ! git diff --quiet HEAD -- "${sources[@]}"; then
        echo HEAD
        return
    fi
    last=$(git log --max-count=1 --format=%H -- "${sources[@]}")
    if ! git rev-parse --quiet --verify "$last^" >/dev/null; then
        echo "the history has no other operator than this one (is it a shallow clone?): name a commit" >&2
        return 1
    fi
    echo "$last^"
}

# image SPECIFICATION DEFINITION...
image() {
    local specification=$1
    shift
    "$target/debug/devcluster" image-build --spec "$specification" "${@/#/--define=}" \
        --output "$earlier/images/$(basename "$specification" .yaml).tar" >&2
}

commit=$(git rev-parse --verify "${1:-$(last_other_operator)}^{commit}")
echo "earlier version: $(git log --max-count=1 --format='%h %s' "$commit")" >&2
if [[ $(cat "$earlier/commit" 2>/dev/null) != "$commit" ]]; then
    rm -rf "$earlier/commit" "$earlier/source" "$earlier/images"
    mkdir -p "$earlier/source" "$earlier/images"
    # With the present time, or Cargo would take what it has built of a later commit for what these would make.
    git archive "$commit" | tar --extract --touch --directory "$earlier/source"
    build=$PWD/e2e/images/programs.sh
    programs=$(cd "$earlier/source" && "$build" "$earlier/target" memgraph-operator)
    (cd "$earlier/source" && image e2e/images/operator.yaml "PROGRAMS=$programs")
    echo "$commit" >"$earlier/commit"
fi
image e2e/images/memgraph-sim.yaml "PROGRAMS=$target/static/x86_64-unknown-linux-gnu/image" "MEMGRAPH=$memgraph"
echo "$earlier"
