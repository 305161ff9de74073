//! What a real cluster has to be able to do. Needs root; the clusters are real.

mod harness;

use std::process::Command;
use std::time::Duration;

use e2e_cluster::address::BoxName;
use e2e_cluster::audit;
use e2e_cluster::firewall::Cut;
use e2e_cluster::interrupt::Interrupt;
use e2e_cluster::process;
use e2e_cluster::spec::Options;
use harness::{TestCluster, eventually};

/// A pod on a node, with a web server on port 8080 that serves `/data`, as the user and group of a database's image.
fn pod(name: &str, node: &str, image: &str, volume: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 1
  nodeSelector: {{kubernetes.io/hostname: {node}}}
  securityContext:
    runAsNonRoot: true
    runAsUser: 101
    runAsGroup: 103
    fsGroup: 103
    seccompProfile: {{type: RuntimeDefault}}
  containers:
  - name: web
    image: {image}
    imagePullPolicy: Never
    command: [python3, -m, http.server, --directory, /data, \"8080\"]
    readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}
    securityContext:
      allowPrivilegeEscalation: false
      capabilities: {{drop: [ALL]}}
      readOnlyRootFilesystem: true
    volumeMounts: [{{name: data, mountPath: /data}}]
  volumes: [{{name: data, {volume}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{port: 80, targetPort: 8080}}]
"
    )
}

fn claim(name: &str, size: &str) -> String {
    format!(
        "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: {size}}}}}}}
---"
    )
}

const NO_VOLUME: &str = "emptyDir: {}";

/// Python that fetches a page within 2 s and prints it.
fn fetch(url: &str) -> String {
    format!("python3 -c 'import urllib.request as u; print(u.urlopen(\"{url}\", timeout=2).read().decode())'")
}

#[test]
#[ignore = "needs root and starts a real cluster"]
fn volumes_belong_to_the_pod_fill_up_grow_and_go() {
    let cluster = TestCluster::up(&Options::new("volume-test"));
    let image = cluster.load_python();
    let user = pod("db", "node1", &image, "persistentVolumeClaim: {claimName: data}");
    cluster.apply(&(claim("data", "64Mi") + &user));
    cluster.wait_ready("db");

    assert_eq!(
        cluster.exec("db", "id -u; id -g; stat -c %g /data").unwrap(),
        "101\n103\n103"
    );
    cluster.exec("db", "echo kept > /data/file").unwrap();
    let full = cluster
        .exec("db", "dd if=/dev/zero of=/data/big bs=1M count=100")
        .unwrap_err()
        .to_string();
    assert!(full.contains("No space left on device"), "{full}");

    let request = r#"{"spec":{"resources":{"requests":{"storage":"256Mi"}}}}"#;
    cluster.run(&["patch", "pvc", "data", "--patch", request]);
    eventually("the claim to have its new size", 30, || {
        Ok(cluster.run(&[
            "get",
            "pvc",
            "data",
            "--output=jsonpath={.status.capacity.storage}",
        ]) == "256Mi")
    });
    cluster
        .exec("db", "dd if=/dev/zero of=/data/big bs=1M count=100")
        .unwrap();

    let affinity =
        "jsonpath={.items[0].spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].values[0]}";
    assert_eq!(cluster.run(&["get", "pv", "--output", affinity]), "node1");

    cluster.run(&["delete", "pod", "db"]);
    cluster.apply(&user);
    cluster.wait_ready("db");
    assert_eq!(cluster.exec("db", "cat /data/file").unwrap(), "kept");

    cluster.run(&["delete", "pod/db", "pvc/data"]);
    eventually("the volume to be deleted", 30, || {
        Ok(cluster.run(&["get", "pv", "--output=name"]).is_empty())
    });
    let images = cluster.folder().of_box(BoxName::Node(1)).join("volumes");
    assert_eq!(std::fs::read_dir(images).unwrap().count(), 0);
}

#[test]
#[ignore = "needs root and starts a real cluster"]
fn names_services_policies_and_audit_work() {
    let cluster = TestCluster::up(&Options {
        nodes: 2,
        ..Options::new("service-test")
    });
    let image = cluster.load_python();
    let manifests =
        pod("server", "node1", &image, NO_VOLUME) + "---" + &pod("client", "node2", &image, NO_VOLUME);
    cluster.apply(&manifests);
    cluster.wait_ready("server");
    cluster.wait_ready("client");
    cluster.exec("server", "echo hello > /data/page").unwrap();

    let by_name = fetch("http://server.default.svc.cluster.local/page");
    let says_hello = |pod: &str, script: &str| cluster.exec(pod, script).is_ok_and(|page| page == "hello");
    // Each node's kube-proxy takes note of a new Service in its own time.
    eventually("a Service to be reached by its name", 20, || {
        Ok(says_hello("client", &by_name))
    });
    let by_short_name = fetch("http://server.default/page");
    eventually("a pod to reach itself by its Service", 20, || {
        Ok(says_hello("server", &by_short_name))
    });
    let outside = cluster
        .exec("client", &fetch("http://example.com/"))
        .unwrap_err()
        .to_string();
    assert!(outside.contains("Name or service not known"), "{outside}");

    // From the host: cluster IP and pod IP.
    let address = |jsonpath: &str, object: &str| {
        cluster.run(&["get", object, &format!("--output=jsonpath={jsonpath}")])
    };
    let from_host = |url: &str| process::output(Command::new("sh").arg("-c").arg(fetch(url)));
    let service = address("{.spec.clusterIP}", "service/server");
    let pod_address = address("{.status.podIP}", "pod/server");
    for url in [
        format!("http://{service}/page"),
        format!("http://{pod_address}:8080/page"),
    ] {
        eventually(&url, 20, || {
            Ok(from_host(&url).is_ok_and(|page| page.trim() == "hello"))
        });
    }

    // PodSecurity admission.
    cluster.run(&[
        "label",
        "namespace",
        "default",
        "pod-security.kubernetes.io/enforce=restricted",
    ]);
    let refused = cluster
        .kubectl()
        .output(&["run", "root", "--image", &image])
        .unwrap_err()
        .to_string();
    assert!(refused.contains("violates PodSecurity"), "{refused}");

    // An image by its digest.
    let archive = cluster
        .load_image(&std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("python.tar"))
        .unwrap();
    assert!(archive.name.contains("@sha256:"));
    cluster.apply(&pod("pinned", "node2", &archive.name, NO_VOLUME));
    cluster.wait_ready("pinned");

    let requests = audit::read(&cluster.audit_log()).unwrap();
    let labelled = requests.iter().filter(|request| {
        request.verb == "patch"
            && request.is_about("namespaces")
            && request.user_agent.starts_with("kubectl/")
    });
    assert_eq!(labelled.count(), 1);
    assert!(
        requests
            .iter()
            .any(|request| request.user_agent.starts_with("kubelet/") && !request.is_write())
    );
}

#[test]
#[ignore = "needs root and starts a real cluster"]
fn faults_break_what_they_should_and_can_be_mended() {
    let options = Options {
        nodes: 2,
        fast_node_monitoring: true,
        ..Options::new("fault-test")
    };
    let cluster = TestCluster::up(&options);
    let image = cluster.load_python();
    let volume = "persistentVolumeClaim: {claimName: data}";
    let manifests = claim("data", "32Mi") + &pod("server", "node2", &image, volume) + "---";
    cluster.apply(&(manifests + &pod("client", "node1", &image, NO_VOLUME)));
    cluster.wait_ready("server");
    cluster.wait_ready("client");
    cluster.exec("server", "echo hello > /data/page").unwrap();
    let address = cluster.run(&["get", "pod", "server", "--output=jsonpath={.status.podIP}"]);
    let reaches = || {
        cluster
            .exec("client", &fetch(&format!("http://{address}:8080/page")))
            .is_ok()
    };
    let node = BoxName::Node(2);
    let is_ready = |wanted: &str| {
        let ready = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        cluster.run(&["get", "node", "node2", "--output", ready]) == wanted
    };
    assert!(reaches());

    // One port between two nodes, all between two nodes.
    for port in [Some(8080), None] {
        cluster
            .partition(Cut {
                machine: node,
                from: Some(BoxName::Node(1)),
                port,
            })
            .unwrap();
        assert!(!reaches(), "cut: port {port:?}");
        cluster.heal().unwrap();
        assert!(reaches(), "mended: port {port:?}");
    }
    cluster
        .partition(Cut {
            machine: node,
            from: Some(BoxName::Node(1)),
            port: Some(9999),
        })
        .unwrap();
    assert!(reaches(), "another port is not concerned");

    cluster
        .freeze_container(&"default/server".parse().unwrap())
        .unwrap();
    assert!(!reaches(), "a frozen container does not answer");
    cluster.thaw().unwrap();
    assert!(reaches());

    // Each of these makes the node silent; its pods are evicted 5 s after it is given up, so it is mended at once.
    cluster
        .partition(Cut {
            machine: node,
            from: None,
            port: None,
        })
        .unwrap();
    eventually("a cut-off node to be given up", 30, || Ok(is_ready("Unknown")));
    cluster.heal().unwrap();
    eventually("it to be back", 30, || Ok(is_ready("True")));
    cluster.freeze_machine(node).unwrap();
    eventually("a frozen node to be given up", 30, || Ok(is_ready("Unknown")));
    cluster.thaw().unwrap();
    eventually("it to be back", 30, || Ok(is_ready("True")));
    cluster.hold_program(node, "kubelet").unwrap();
    eventually("a node without kubelet to be given up", 30, || {
        Ok(is_ready("Unknown"))
    });
    cluster.release_program(node, "kubelet").unwrap();
    eventually("it to be back", 30, || Ok(is_ready("True")));

    // The API server's machine goes and comes back, with all that it knew.
    cluster.power_cut(BoxName::ControlPlane).unwrap();
    assert!(
        !cluster
            .kubectl()
            .succeeds(&["get", "nodes", "--request-timeout=2s"])
    );
    cluster.power_on(BoxName::ControlPlane).unwrap();
    cluster.wait_for_api(&Interrupt::never()).unwrap();
    assert_eq!(
        cluster.run(&["get", "pvc", "data", "--output=jsonpath={.status.phase}"]),
        "Bound"
    );

    // A node's power is cut: its volume comes back with it.
    cluster.power_cut(node).unwrap();
    eventually("a dead node to be given up", 60, || Ok(is_ready("Unknown")));
    cluster.power_on(node).unwrap();
    cluster
        .wait_for_nodes(&Interrupt::never(), Duration::from_secs(60))
        .unwrap();
    cluster.run(&["delete", "pod", "server", "--ignore-not-found"]);
    cluster.apply(&pod("server", "node2", &image, volume));
    cluster.wait_ready("server");
    assert_eq!(cluster.exec("server", "cat /data/page").unwrap(), "hello");
}

#[test]
#[ignore = "needs root and starts two real clusters"]
fn two_clusters_at_once_do_not_meet() {
    let first = TestCluster::up(&Options::new("first-test"));
    let second = TestCluster::up(&Options {
        control_plane_only: true,
        ..Options::new("second-test")
    });
    assert_ne!(first.spec().addresses, second.spec().addresses);
    second.run(&["create", "namespace", "only-here"]);
    assert!(!first.kubectl().succeeds(&["get", "namespace", "only-here"]));
    let other = second.spec().addresses.address(BoxName::ControlPlane).to_string();
    let mut connect = first.command_in(BoxName::Node(1)).unwrap();
    connect.args(["bash", "-c", &format!("exec 3<>/dev/tcp/{other}/6443")]);
    assert!(
        !process::succeeds(&mut connect),
        "a node of one has no way to the other"
    );
}
