#!/usr/bin/env bash
# Builds Helm, in the version of go.mod, into the user's cache if it is not there, and prints the program's path.
set -euo pipefail
cd "$(dirname "$0")"

version=$(go list -m -f '{{.Version}}' helm.sh/helm/v4)
folder=${XDG_CACHE_HOME:-$HOME/.cache}/memgraph-operator/helm/$version
if [[ ! -x $folder/helm ]]; then
    echo "Building Helm $version (once, some minutes)" >&2
    mkdir -p "$folder"
    new=$(mktemp -d "$folder/new.XXXXXX")
    # With the flags of this folder's tests, so that little is left to compile after them.
    go build -ldflags "-s -w" -o "$new/helm" helm.sh/helm/v4/cmd/helm
    # Another one may have been faster.
    mv --no-target-directory "$new/helm" "$folder/helm"
    rmdir "$new"
fi
echo "$folder/helm"
