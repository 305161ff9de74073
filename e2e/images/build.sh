#!/usr/bin/env bash
# Builds the images of operator, simulator, mgconsole and test client as archives for `devcluster load-image`, and
# devcluster, which makes them. They go to $CARGO_TARGET_DIR/images (without that variable: target/images). Prints the
# images' names.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")
# The release of Memgraph that the simulator is, unless it is told otherwise.
memgraph=3.12

# The Python of this machine's Debian release: the image gets it from there.
debian_python() {
    local version
    version=$(apt-cache show --no-all-versions python3 | sed -n 's/^Version: \([0-9]*\.[0-9]*\).*/\1/p')
    if [[ -z $version ]]; then
        echo "apt does not know the package python3: run apt-get update" >&2
        return 1
    fi
    echo "$version"
}

image() {
    "$target/debug/devcluster" image-build --spec "e2e/images/$1.yaml" --output "$target/images/$1.tar" \
        --define "PROGRAMS=$programs" --define "PYTHON_PACKAGES=$packages" --define "MEMGRAPH=$memgraph"
}

cargo build --locked --package e2e-cluster --target-dir "$target" >&2
programs=$(e2e/images/programs.sh "$target/static" memgraph-operator memgraph-sim mgconsole)
python=$(debian_python)
packages=$(e2e/images/python-packages.sh "$python" e2e/images/requirements.txt e2e/images/requirements-native.txt)
mkdir -p "$target/images"
for name in operator memgraph-sim mgconsole client; do
    image "$name"
done
