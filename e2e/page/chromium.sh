#!/usr/bin/env bash
# Prints the path of Chromium, which is installed from the distribution first if it is not there: some 300 MB.
set -euo pipefail

find_it() {
    command -v chromium || command -v chromium-browser
}

if ! find_it >/dev/null; then
    if ! command -v apt-get >/dev/null || [[ $(id -u) != 0 ]]; then
        echo "Chromium is not there: install it from your distribution, or call this as root where there is apt-get" >&2
        exit 1
    fi
    {
        apt-get -o DPkg::Lock::Timeout=500 update
        DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=500 install -y --no-install-recommends \
            chromium fonts-dejavu-core
    } >&2
fi
find_it
