#!/usr/bin/env bash
# The product's main job, from nothing: a Kubernetes cluster, the operator, a MemgraphCluster, writes through its gateway,
# the loss of MAIN, and all that was written read back from every instance.
#
#   run.sh                                   on a cluster of its own, which is removed at the end (KEEP=1: it stays)
#   CLUSTER=current CONTEXT=NAME run.sh      on the cluster of kubectl's current context; see README.md
set -euo pipefail
cd "$(dirname "$0")/../.."

namespace=memgraph-demo
state=${XDG_STATE_HOME:-$HOME/.local/state}/memgraph-operator

# shellcheck source=e2e/demo/progress.sh
source e2e/demo/progress.sh
case ${CLUSTER:-} in
    "")
        # shellcheck source=e2e/demo/devcluster.sh
        source e2e/demo/devcluster.sh
        ;;
    current)
        # shellcheck source=e2e/demo/current.sh
        source e2e/demo/current.sh
        ;;
    *)
        echo "CLUSTER=$CLUSTER: leave it unset, or write CLUSTER=current" >&2
        exit 2
        ;;
esac

finish() {
    local status=$?
    trap '' INT TERM HUP
    set +e
    if ((status != 0)); then
        explain_failure "$status"
        collect_state
    fi
    remove_all || status=1
    exit "$status"
}

# What an engineer would look at first, as long as it is there.
collect_state() {
    [[ -n ${KUBECONFIG:-} && -e $run_folder/kubeconfig ]] || return 0
    local folder=$run_folder/state
    mkdir -p "$folder"
    kubectl get memgraphclusters --output yaml >"$folder/memgraphclusters.yaml"
    kubectl get all,persistentvolumeclaims --output wide >"$folder/objects.txt"
    kubectl describe pods >"$folder/pods.txt"
    kubectl get events --all-namespaces --sort-by .metadata.creationTimestamp >"$folder/events.txt"
    kubectl --namespace memgraph-operator-system logs deployment/memgraph-operator >"$folder/operator.log"
    kubectl logs --selector app.kubernetes.io/name=memgraph --all-containers --prefix --tail=-1 >"$folder/instances-and-gateways.log"
    echo "The cluster's state and the logs of its pods are in $folder."
} 2>/dev/null

operator_manifests() {
    kubectl kustomize config/default |
        sed -E "s|ghcr\.io/memgraph-operator/memgraph-operator(:[^ ]*)?$|$(recall operator_image)|"
}

install_operator() {
    echo "\$ kubectl kustomize config/default | sed .. | kubectl apply --server-side -f -"
    operator_manifests | kubectl apply --server-side -f -
    show kubectl wait --for=condition=Established crd/memgraphclusters.memgraph.dev --timeout=60s
    show kubectl --namespace memgraph-operator-system rollout status deployment/memgraph-operator --timeout=300s
}

# Shows each change of the MemgraphCluster while a command runs.
watching() {
    kubectl get memgraphclusters --watch &
    local watcher=$! status=0
    "$@" || status=$?
    kill "$watcher" 2>/dev/null || true
    wait "$watcher" 2>/dev/null || true
    return "$status"
}

# From here on every kubectl that names no namespace means this one.
make_namespace() {
    kubectl create namespace "$namespace"
    kubectl label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted
    kubectl config set-context --current --namespace="$namespace"
}

create_cluster() {
    echo "\$ kubectl apply -f examples/quickstart.yaml    (with spec.image: $(recall memgraph_image))"
    kubectl patch --local -f examples/quickstart.yaml --type merge --output yaml \
        --patch "{\"spec\": {\"image\": \"$(recall memgraph_image)\"}}" | kubectl apply -f -
    watching show kubectl wait --for=condition=Ready memgraphcluster/demo --timeout=600s
    watching show kubectl wait --for=condition=Reconciling=False memgraphcluster/demo --timeout=300s
    show kubectl get memgraphclusters
    status_field main | remember main_before
    status_field ledger.term | remember term_before
}

status_field() {
    kubectl get memgraphcluster demo --output "jsonpath={.status.$1}"
}

start_client() {
    kubectl apply -f e2e/demo/client-access.yaml
    # shellcheck disable=SC2016
    IMAGE=$(recall client_image) && sed "s|\${IMAGE}|$IMAGE|" e2e/demo/client-pod.yaml | kubectl apply -f -
    show kubectl wait --for=condition=Ready pod/client --timeout=300s
    local python
    python=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    e2e/images/python-packages.sh "$python" e2e/images/requirements.txt | remember packages
}

# The program with the driver, on this machine and in the pod.
outside() {
    PYTHONPATH=$(recall packages) python3 e2e/demo/client.py "$@"
}

inside() {
    kubectl exec client -- python3 -c "$(cat e2e/demo/client.py)" "$@"
}

instances() {
    kubectl get pods --selector memgraph.dev/cluster=demo,app.kubernetes.io/component=instance \
        --output 'jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}'
}

write_tokens() {
    local uri
    uri=$(outside_uri)
    echo "from this machine, $uri:"
    outside write "$uri" outside-before
    echo "from a pod, bolt://demo-gateway:7687:"
    inside write bolt://demo-gateway:7687 inside-before
}

# read_everywhere FACT TOKEN...
read_everywhere() {
    local fact=$1 targets=() expected=() name
    shift
    for name in $(instances); do
        targets+=("$name=bolt://$name.demo-instances:7687")
    done
    for name in "$@"; do
        expected+=(--expect "$name")
    done
    inside read "${expected[@]}" "${targets[@]}" | tee "$run_folder/facts/$fact"
    echo "through the read gateway, bolt://demo-gateway-read:7687:"
    inside read "${expected[@]}" gateway-read=bolt://demo-gateway-read:7687
}

# The writer is connected and idle when MAIN dies, and then writes with nothing but the driver's own retries.
lose_main() {
    local main uri answer killed
    main=$(recall main_before)
    uri=$(outside_uri)
    coproc WRITER { outside write --on-signal --deadline 120 "$uri" outside-after; }
    # Copies, since bash forgets the originals when the writer has ended.
    local from=${WRITER[0]} to=${WRITER[1]} writer=$WRITER_PID
    exec {reader}<&"$from" {signal}>&"$to"
    read -r answer <&"$reader"
    [[ $answer == connected ]]
    killed=$(now_ms)
    kill_instance "$main"
    echo >&"$signal"
    answer=
    read -r answer <&"$reader" || true
    wait "$writer"
    echo "$answer"
    remember writer <<<"$answer"
    remember killed_ms <<<"$killed"
}

wait_for_return() {
    local main count
    main=$(recall main_before)
    count=$(kubectl get memgraphcluster demo --output 'jsonpath={.spec.replicas}')
    watching kubectl wait memgraphcluster/demo --timeout=300s \
        --for="jsonpath={.status.instances[?(@.name==\"$main\")].role}=Replica"
    watching kubectl wait memgraphcluster/demo --timeout=300s --for="jsonpath={.status.readyReplicas}=$count"
    watching kubectl wait memgraphcluster/demo --timeout=300s --for=condition=Reconciling=False
    show kubectl wait --for=condition=Ready memgraphcluster/demo --timeout=300s
    show kubectl get memgraphclusters
    status_field main | remember main_after
    status_field ledger.term | remember term_after
    if [[ $(recall main_after) == "$main" ]]; then
        echo "$main is MAIN again: no other instance was promoted"
        return 1
    fi
    kubectl get events --field-selector involvedObject.kind=MemgraphCluster \
        --output 'custom-columns=REASON:.reason,MESSAGE:.message'
}

write_inside_again() {
    inside write bolt://demo-gateway:7687 inside-after
}

print_summary() {
    python3 e2e/demo/summary.py "$run_folder"
}

main() {
    mkdir -p "$state/locks"
    exec 4>"$state/locks/demo-run"
    if ! flock --nonblock 4; then
        echo "Another demo of this user is running: waiting until it ends."
        flock 4
    fi
    prepare_run_folder "$state/demo"
    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP

    steps_before
    step "Install the operator" install_operator
    step "Make a namespace that admits only restricted pods" make_namespace
    step "Create the cluster of examples/quickstart.yaml" create_cluster
    step "Start a client in the cluster" start_client
    step "Write with the official Python driver, from outside and from inside" write_tokens
    step "Read both tokens from each instance" read_everywhere read_before outside-before inside-before
    step "Kill MAIN while a client is connected, and write again" lose_main
    step "Wait until the old MAIN is back as a replica" wait_for_return
    step "Write from inside again" write_inside_again
    step "Read all tokens from each instance" \
        read_everywhere read_after outside-before inside-before outside-after inside-after
    step "Summary" print_summary
}

main
