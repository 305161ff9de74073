# The demo on a Kubernetes cluster of its own, made on this machine. To be sourced by run.sh.
# shellcheck shell=bash disable=SC2154

cluster_name=demo
target=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")
devcluster=$target/debug/devcluster

check_machine() {
    local missing=()
    [[ $(uname -sm) == "Linux x86_64" ]] || missing+=("Linux on x86_64 (this is $(uname -sm))")
    [[ $(id -u) == 0 ]] || missing+=("root: the node is made of namespaces, mounts and cgroups (sudo make demo)")
    [[ -f /etc/debian_version ]] || missing+=("Debian, or a derivative of it: packages are installed with apt-get")
    command -v cargo >/dev/null || missing+=("cargo and rustc 1.91 or newer (rustup)")
    command -v go >/dev/null || missing+=("go 1.26 or newer")
    command -v gcc >/dev/null || missing+=("gcc (apt-get install gcc libc6-dev)")
    command -v python3 >/dev/null || missing+=("python3 (apt-get install python3)")
    python3 -m pip --version >/dev/null 2>&1 || missing+=("pip for python3 (apt-get install python3-pip)")
    if ((${#missing[@]} > 0)); then
        echo "This machine lacks:"
        printf '  - %s\n' "${missing[@]}"
        echo "With CLUSTER=current CONTEXT=NAME the demo runs on a Kubernetes cluster that you have: see README.md."
        return 1
    fi
    local free_gib
    free_gib=$(df --output=avail --block-size=1G "$HOME" | tail -n 1)
    if ((free_gib < 20)); then
        echo "Note: $((free_gib)) GiB are free below $HOME; the first build takes about 20 GiB."
    fi
    echo "$(nproc) cores, $(free --gibi | awk '/^Mem:/ {print $2}') GiB of memory, $((free_gib)) GiB of disk free"
}

build_devcluster() {
    cargo build --locked --package e2e-cluster --target-dir "$target"
}

build_kubernetes() {
    "$devcluster" build | remember bin
    # A demo that was killed may have left its cluster; so has one with KEEP=1.
    "$devcluster" down --name "$cluster_name"
}

build_images() {
    local names
    names=$(e2e/images/build.sh)
    grep '/memgraph-operator:' <<<"$names" | remember operator_image
    grep '/memgraph-sim:' <<<"$names" | remember memgraph_image
    grep '/bolt-client:' <<<"$names" | remember client_image
    echo "$names"
}

start_cluster() {
    remember started <<<yes
    "$devcluster" up --name "$cluster_name"
    cp "$("$devcluster" kubeconfig --name "$cluster_name")" "$run_folder/kubeconfig"
    show kubectl get nodes --output wide
}

load_images() {
    "$devcluster" load-image --name "$cluster_name" "$target"/images/{operator,memgraph-sim,client}.tar
}

steps_before() {
    step "Check this machine" check_machine
    step "Build the program that makes clusters" build_devcluster
    step "Build Kubernetes (the first time: about 15 minutes)" build_kubernetes
    PATH=$(recall bin):$PATH
    step "Build operator, simulator and client (the first time: about 10 minutes)" build_images
    export KUBECONFIG=$run_folder/kubeconfig
    step "Start a Kubernetes cluster with one node" start_cluster
    step "Load the images into the node" load_images
}

# The Service is reached from this machine, which routes to the node.
outside_uri() {
    kubectl get service demo-gateway --output 'jsonpath=bolt://{.spec.clusterIP}:7687'
}

# Ends the process as the kernel's out-of-memory killer would: no warning, no clean-up.
kill_instance() {
    local node id
    node=$(kubectl get pod "$1" --output 'jsonpath={.spec.nodeName}')
    id=$(kubectl get pod "$1" --output 'jsonpath={.status.containerStatuses[0].containerID}')
    show "$devcluster" exec --name "$cluster_name" "$node" -- \
        ctr --namespace k8s.io tasks kill --signal SIGKILL "${id#containerd://}" 2> >(grep -v DEPRECATION >&2)
}

remove_all() {
    [[ -e $run_folder/facts/started ]] || return 0
    if [[ ${KEEP:-} == 1 ]]; then
        echo "KEEP=1: the cluster stays. Use it with"
        echo "    export KUBECONFIG=$run_folder/kubeconfig PATH=$(recall bin 2>/dev/null):\$PATH"
        echo "and remove it with"
        echo "    $devcluster down --name $cluster_name"
        return 0
    fi
    "$devcluster" down --name "$cluster_name"
    echo "The cluster is removed."
}
