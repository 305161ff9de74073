#!/usr/bin/env bash
# Runs checks and tests, all of them even if one fails. The last line says "N passed, M failed": the tests of all parts,
# and each part that failed without naming a test.
#   test.sh check    what needs neither root nor a cluster
#   test.sh all      everything, as CI does
set -uo pipefail
cd "$(dirname "$0")/.." || exit
kind=${1:-all}

logs=${CARGO_TARGET_DIR:-target}/test-logs
mkdir -p "$logs"
passed=0
failed=0
failures=()
begin=$SECONDS

# count WORD MARK LOG: of Cargo's lines such as "test result: ok. 3 passed; 0 failed; ..", and Go's such as "--- PASS: ..".
count() {
    {
        sed -n "s/^test result: .* \([0-9]*\) $1; .*/\1/p" "$3"
        sed -n "s/^--- $2: .*/1/p" "$3"
    } | awk '{sum += $1} END {print sum + 0}'
}

# part NAME COMMAND...
part() {
    local name=$1 log status part_begin=$SECONDS part_passed part_failed
    shift
    log=$logs/$name.log
    printf '\n=== %s ===\n' "$name"
    "$@" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    part_passed=$(count passed PASS "$log")
    part_failed=$(count failed FAIL "$log")
    if ((status != 0 && part_failed == 0)); then
        part_failed=1
    fi
    if ((part_failed > 0)); then
        failures+=("$name (see $log)")
    fi
    passed=$((passed + part_passed))
    failed=$((failed + part_failed))
    printf -- '--- %s: %d passed, %d failed, %d s\n' "$name" "$part_passed" "$part_failed" $((SECONDS - part_begin))
}

scripts() {
    local files
    mapfile -t files < <(git ls-files '*.sh' .ci/run)
    for file in "${files[@]}"; do
        bash -n "$file" || return 1
    done
    if command -v shellcheck >/dev/null; then
        shellcheck --external-sources "${files[@]}"
    else
        echo "shellcheck is not installed (apt-get install shellcheck): only the syntax was checked"
    fi
}

# What `make crds reference` would write is what is committed.
generated_files() {
    local crd
    crd=$(cargo run --locked --quiet --package memgraph-operator -- crd) || return 1
    for file in crds/memgraphclusters.yaml {config/crd/bases,charts/memgraph-operator/files/crds}/memgraphclusters.yaml; do
        diff --unified "$file" - <<<"$crd" || { echo "$file is not up to date: run make crds"; return 1; }
    done
    for page in resource:memgraphcluster flags:flags kubectl:kubectl-memgraph; do
        local file=docs/reference/${page#*:}.md
        cargo run --locked --quiet --package memgraph-operator -- reference "${page%:*}" | diff --unified "$file" - ||
            { echo "$file is not up to date: run make reference"; return 1; }
    done
}

# The Helm chart makes what config/default makes, and its values do what they say. Go remembers no result (-count=1): it would
# not see that a file outside of its module has changed.
chart() {
    (cd e2e/chart && go vet . && go test -count=1 -v .) && (cd e2e/cluster/oldest && go vet . && go test -count=1 -v .)
}

# The alerts of the chart fire when they should, by Prometheus' own code.
alerts() {
    (cd e2e/alerts && go vet . && go test -count=1 -v .)
}

docs() {
    python3 .ci/docs.py && echo "test result: ok. 1 passed; 0 failed; 0 ignored"
}

volume_tests() {
    (cd e2e/cluster/box && go test -v ./volumes)
}

# On a real API server without a node.
api_tests() {
    cargo build --locked --package memgraph-operator --package e2e-cluster || return 1
    cargo test --locked --package e2e-node --test api -- --ignored
}

# 500 simulated clusters with faults, after those that have failed once.
simulation() {
    REGRESSIONS=true SEEDS=500 cargo run --locked --quiet --release --package simulation || return 1
    echo "test result: ok. 1 passed; 0 failed; 0 ignored"
}

demo() {
    e2e/demo/run.sh || return 1
    echo "test result: ok. 1 passed; 0 failed; 0 ignored"
}

checks() {
    part format cargo fmt --all --check
    part lints cargo clippy --locked --workspace --all-targets -- --deny warnings
    part scripts scripts
    part generated-files generated_files
    part chart chart
    part alerts alerts
    part docs docs
    part dependencies .ci/deny.sh
    part unit-tests cargo test --locked --workspace --no-fail-fast
}

on_real_clusters() {
    part images e2e/images/build.sh
    part kubernetes "${CARGO_TARGET_DIR:-target}/debug/devcluster" build
    part helm e2e/chart/helm.sh
    part volume-tests volume_tests
    part api-tests api_tests
    part cluster-tests cargo test --locked --package e2e-cluster --no-fail-fast -- --ignored --test-threads=1
    part node-tests env NODE_TESTS=short cargo test --locked --package e2e-node --test node -- --ignored
    part demo demo
}

case $kind in
    check) checks ;;
    all)
        checks
        part simulation simulation
        on_real_clusters
        ;;
    *)
        echo "test.sh: '$kind' is neither check nor all" >&2
        exit 2
        ;;
esac

printf '\n%d s\n' $((SECONDS - begin))
for failure in "${failures[@]}"; do
    echo "FAILED: $failure"
done
echo "$passed passed, $failed failed"
((failed == 0))
