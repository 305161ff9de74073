#!/usr/bin/env bash
# Checks licences, bans and sources of all dependencies with cargo-deny, which is built into the user's cache first if it
# is not there. With ADVISORIES=1 also for known vulnerabilities: that needs the advisory database, from the internet.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
folder=${XDG_CACHE_HOME:-$HOME/.cache}/memgraph-operator/cargo-deny/$version
if [[ ! -x $folder/bin/cargo-deny ]]; then
    echo "Building cargo-deny $version (once, some minutes)"
    CARGO_TARGET_DIR=$folder/target cargo install --quiet --locked --no-track --root "$folder" --version "$version" cargo-deny
    rm -rf "$folder/target"
fi
checks=(bans licenses sources)
if [[ ${ADVISORIES:-} == 1 ]]; then
    checks+=(advisories)
fi
"$folder/bin/cargo-deny" --locked --workspace check "${checks[@]}"
