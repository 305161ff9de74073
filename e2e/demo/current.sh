# The demo on the cluster of kubectl's current context. To be sourced by run.sh.
# shellcheck shell=bash disable=SC2154

memgraph_image=${MEMGRAPH_IMAGE:-memgraph/memgraph:3.12.0}
client_image=${CLIENT_IMAGE:-python:3.13-slim}
operator_namespace=memgraph-operator-system

check_context() {
    local current
    command -v kubectl >/dev/null || { echo "kubectl is missing"; return 1; }
    python3 -m pip --version >/dev/null 2>&1 || { echo "python3 with pip is missing"; return 1; }
    current=$(kubectl config current-context)
    if [[ -z ${CONTEXT:-} ]]; then
        echo "CLUSTER=current changes a cluster of yours: say which one, with CONTEXT=NAME. The current context is $current."
        return 1
    fi
    if [[ $CONTEXT != "$current" ]]; then
        echo "You typed CONTEXT=$CONTEXT, but kubectl's current context is $current: nothing was done."
        return 1
    fi
    if [[ -z ${OPERATOR_IMAGE:-} ]]; then
        echo "OPERATOR_IMAGE is not set: build the operator's image and push it where the cluster can pull it from."
        return 1
    fi
    # From here on, changing the context elsewhere changes nothing here.
    (umask 077 && kubectl config view --minify --flatten --raw >"$run_folder/kubeconfig")
    export KUBECONFIG=$run_folder/kubeconfig
    local existing
    existing=$(kubectl get --ignore-not-found --output name \
        crd/memgraphclusters.memgraph.dev "namespace/$operator_namespace" "namespace/$namespace")
    if [[ -n $existing ]]; then
        echo "The cluster has these already, and the demo would change them:"
        echo "$existing"
        return 1
    fi
    remember operator_image <<<"$OPERATOR_IMAGE"
    remember memgraph_image <<<"$memgraph_image"
    remember client_image <<<"$client_image"
    # Only now may the end of this script remove anything.
    remember checked <<<yes
    echo "context $current"
}

steps_before() {
    step "Check the context" check_context
    export KUBECONFIG=$run_folder/kubeconfig
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Through a port of this machine. A forwarding ends when its gateway pod cuts a session, and is then begun again.
outside_uri() {
    if [[ ! -e $run_folder/facts/port ]]; then
        free_port | remember port
        # A process group of its own, to be ended as one.
        # shellcheck disable=SC2016
        setsid bash -c 'while true; do kubectl port-forward service/demo-gateway "$0:7687"; done' "$(recall port)" \
            >>"$run_folder/port-forward.log" 2>&1 &
        remember forwarder <<<$!
    fi
    echo "bolt://127.0.0.1:$(recall port)"
}

kill_instance() {
    show kubectl delete pod "$1" --grace-period=0 --force
}

remove_all() {
    [[ -e $run_folder/facts/checked ]] || return 0
    if [[ -e $run_folder/facts/forwarder ]]; then
        kill -- "-$(recall forwarder)" 2>/dev/null || true
    fi
    if [[ ${KEEP:-} == 1 ]]; then
        echo "KEEP=1: the demo stays, in the namespaces $namespace and $operator_namespace."
        return 0
    fi
    kubectl delete namespace "$namespace" --ignore-not-found
    operator_manifests | kubectl delete --ignore-not-found -f -
}
