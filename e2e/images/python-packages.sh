#!/usr/bin/env bash
# Installs Python packages into a folder of the user's cache and prints its path.
#   python-packages.sh VERSION FILE...    VERSION of Python, such as 3.11; FILEs are requirements for pip
set -euo pipefail
version=$1
shift

cache=${XDG_CACHE_HOME:-$HOME/.cache}/memgraph-operator/python
key=$({ echo "$version"; cat "$@"; } | sha256sum | cut -c1-16)
folder=$cache/$key
if [[ ! -d $folder ]]; then
    mkdir -p "$cache"
    new=$(mktemp -d "$cache/new.XXXXXX")
    chmod 755 "$new"
    requirements=()
    for file in "$@"; do
        requirements+=(--requirement "$file")
    done
    python3 -m pip install --quiet --no-input --disable-pip-version-check --root-user-action=ignore \
        --only-binary=:all: --python-version "$version" --no-compile --no-deps --require-hashes \
        --target "$new" "${requirements[@]}" >&2
    # Another one may have been faster.
    mv --no-target-directory "$new" "$folder" 2>/dev/null || rm -rf "$new"
fi
echo "$folder"
