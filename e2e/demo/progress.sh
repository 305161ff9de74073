# Steps of a script: each is announced with the time so far, shows what it does, keeps a log of it, and when it fails, the
# script stops and says where to look. To be sourced by a bash script with `set -euo pipefail`.
# shellcheck shell=bash

# Folder of this run's logs and facts. It stays until the next run.
run_folder=
step_number=0
step_title=
step_log=

now_ms() {
    local microseconds=${EPOCHREALTIME/[.,]/}
    echo $((microseconds / 1000))
}

begin_ms=$(now_ms)

# Milliseconds as seconds with one decimal.
seconds() {
    printf '%d.%d' $(($1 / 1000)) $(($1 % 1000 / 100))
}

# `COMMAND | remember NAME` keeps what a step has found out for later steps: each step runs in a shell of its own.
remember() {
    cat >"$run_folder/facts/$1"
}

recall() {
    cat "$run_folder/facts/$1"
}

prepare_run_folder() {
    run_folder=$1
    rm -rf "$run_folder"
    mkdir -p "$run_folder/facts"
}

# step TITLE COMMAND...
step() {
    step_number=$((step_number + 1))
    step_title=$1
    shift
    step_log=$run_folder/$(printf '%02d' "$step_number").log
    printf '\n[%5s s] %d. %s\n' "$(seconds $(($(now_ms) - begin_ms)))" "$step_number" "$step_title"
    local begin
    begin=$(now_ms)
    # Nothing that a step starts may hold the lock of this script (descriptor 4). tee has to outlive Ctrl-C.
    (
        set -e
        "$@"
    ) 4>&- 2>&1 | tee -i "$step_log" | sed -u 's/^/    /'
    printf '%s\t%s\n' "$step_title" "$(seconds $(($(now_ms) - begin)))" >>"$run_folder/times"
}

# Prints a command as one would type it, and runs it.
show() {
    printf '$'
    printf ' %s' "${@@Q}" | sed "s/ '\([-A-Za-z0-9_.,:=/+@]*\)'/ \1/g"
    printf '\n'
    "$@"
}

# explain_failure STATUS, for the trap on EXIT: says which step did not end well, and why.
explain_failure() {
    local what=FAILED
    if (($1 > 128)); then
        what=INTERRUPTED
    fi
    printf '\n%s in step %d: %s\n' "$what" "$step_number" "$step_title"
    if [[ -s $step_log ]]; then
        printf 'The last lines of its log, %s:\n' "$step_log"
        tail -n 15 "$step_log" | sed 's/^/    | /'
    fi
}
