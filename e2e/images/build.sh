#!/usr/bin/env bash
# Builds the images of operator, simulator, mgconsole and test client as archives for `devcluster load-image`, and
# devcluster, which makes them. With PLATFORM=aarch64-unknown-linux-gnu (or another target of Rust's) it builds that of the operator
# alone, for that platform. They go to $CARGO_TARGET_DIR/images (without that variable: target/images), or to a folder of the
# platform's name in it. Prints the images' names.
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
    "$target/debug/devcluster" image-build --spec "e2e/images/$1.yaml" --architecture "$architecture" --output "$images/$1.tar" \
        --define "PROGRAMS=$programs" --define "PYTHON_PACKAGES=${packages:-}" --define "MEMGRAPH=$memgraph"
}

images=$target/images
case ${PLATFORM:-} in
    '') architecture=amd64 ;;
    x86_64-*) architecture=amd64 images=$target/images/$PLATFORM ;;
    aarch64-*) architecture=arm64 images=$target/images/$PLATFORM ;;
    *) echo "PLATFORM=$PLATFORM: images are built for x86_64 and aarch64" >&2 && exit 1 ;;
esac
mkdir -p "$images"

cargo build --locked --package e2e-cluster --target-dir "$target" >&2
if [[ -n ${PLATFORM:-} ]]; then
    programs=$(e2e/images/programs.sh "$target/static" memgraph-operator)
    image operator
    exit
fi
programs=$(e2e/images/programs.sh "$target/static" memgraph-operator memgraph-sim mgconsole)
python=$(debian_python)
packages=$(e2e/images/python-packages.sh "$python" e2e/images/requirements.txt e2e/images/requirements-native.txt)
for name in operator memgraph-sim mgconsole client; do
    image "$name"
done
