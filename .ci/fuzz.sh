#!/usr/bin/env bash
# fuzz.sh SECONDS: feeds the decoders of the simulator with inputs that libFuzzer makes up, all targets together for so
# long. cargo-fuzz is built into the user's cache first if it is not there. What breaks a target is kept in
# e2e/memgraph-sim/fuzz/artifacts; put it into the corpus, so that the ordinary tests try it for ever.
set -euo pipefail
cd "$(dirname "$0")/.."

time=${1:-60}
version=0.13.2
folder=${XDG_CACHE_HOME:-$HOME/.cache}/memgraph-operator/cargo-fuzz/$version
fuzz=e2e/memgraph-sim/fuzz
if ! command -v "${CXX:-c++}" >/dev/null; then
    echo "libFuzzer needs a C++ compiler, and ${CXX:-c++} is missing: apt-get install g++" >&2
    exit 1
fi
if [[ ! -x $folder/bin/cargo-fuzz ]]; then
    echo "Building cargo-fuzz $version (once, some minutes)"
    CARGO_TARGET_DIR=$folder/target cargo install --quiet --locked --no-track --root "$folder" --version "$version" cargo-fuzz
    rm -rf "$folder/target"
fi
PATH=$folder/bin:$PATH
target_dir=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
mapfile -t targets < <(sed -n 's/^name = "\([a-z]*\)"$/\1/p' "$fuzz/Cargo.toml")
# Without a sanitizer (-s none): those need a nightly compiler.
cargo fuzz build --fuzz-dir "$fuzz" --target-dir "$target_dir" -s none
each=$((time / ${#targets[@]}))
failed=()
for target in "${targets[@]}"; do
    echo "--- $target: $((each > 0 ? each : 1)) s"
    # New inputs go to the first folder: the corpus in the repository stays as it is.
    grown=$target_dir/corpus/$target
    mkdir -p "$grown"
    cargo fuzz run --fuzz-dir "$fuzz" --target-dir "$target_dir" -s none "$target" "$grown" "$fuzz/corpus/$target" -- \
        -max_total_time=$((each > 0 ? each : 1)) -max_len=65536 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 -verbosity=0 ||
        failed+=("$target")
done
echo "$((${#targets[@]} - ${#failed[@]})) passed, ${#failed[@]} failed"
if ((${#failed[@]} > 0)); then
    echo "These targets broke: ${failed[*]} (see $fuzz/artifacts)" >&2
    exit 1
fi
