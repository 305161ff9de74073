package chart

import (
	"fmt"
	"testing"

	sigsyaml "sigs.k8s.io/yaml"
)

// testPod is what `helm test` starts; nil if there is none.
func testPod(t *testing.T, folder, release, values string) object {
	t.Helper()
	made, err := install(t, folder, release, oldest, values)
	if err != nil {
		t.Fatal(err)
	}
	if len(made.Hooks) > 1 {
		t.Fatalf("there are %d hooks", len(made.Hooks))
	}
	var pod object
	for _, hook := range made.Hooks {
		if err := sigsyaml.UnmarshalStrict([]byte(hook.Manifest), &pod); err != nil {
			t.Fatal(err)
		}
	}
	return pod
}

func TestTheTestOfTheOperatorIsNoneOfItsPodsAndIsLetIn(t *testing.T) {
	const policy = "networkPolicy: {enabled: true, from: [{podSelector: {matchLabels: {app: prometheus}}}]}"
	for _, names := range []string{"", "nameOverride: other, ", "fullnameOverride: other, "} {
		values := fmt.Sprintf("{%s%s}", names, policy)
		all, pod := render(t, "db", values), testPod(t, folder, "db", values)
		labels := at(pod, "metadata", "labels").(object)
		matches := func(selector any) bool {
			for label, value := range selector.(object) {
				if labels[label] != value {
					return false
				}
			}
			return true
		}
		let := false
		for key, made := range all {
			switch made["kind"] {
			case "NetworkPolicy":
				for _, peer := range at(made, "spec", "ingress", 0, "from").([]any) {
					let = let || matches(at(peer, "podSelector", "matchLabels"))
				}
				if matches(at(made, "spec", "podSelector", "matchLabels")) {
					t.Errorf("%s is about the test's pod", key)
				}
			case "Service":
				if matches(at(made, "spec", "selector")) {
					t.Errorf("%s leads to the test's pod", key)
				}
				url := "http://" + at(made, "metadata", "name").(string) + "." + namespace + ".svc:8080/readyz"
				if arguments := at(pod, "spec", "containers", 0, "args"); same(t, arguments) != same(t, []any{"probe", "--http", url}) {
					t.Errorf("the test asks %v, not %s", arguments, url)
				}
			case "Deployment":
				if matches(at(made, "spec", "selector", "matchLabels")) {
					t.Errorf("%s takes the test's pod for its own", key)
				}
				if found, wanted := at(pod, "spec", "containers", 0, "image"), at(made, "spec", "template", "spec", "containers", 0, "image"); found != wanted {
					t.Errorf("the test runs %v, the operator %v", found, wanted)
				}
			}
		}
		if !let {
			t.Errorf("%s: the NetworkPolicy keeps the test's pod out", values)
		}
	}
}

func TestTheTestOfAClusterAsksItsGateway(t *testing.T) {
	arguments := func(more ...any) string { return same(t, append([]any{"probe", "--bolt"}, more...)) }
	const authority = "/etc/memgraph-test/tls/ca.crt"
	for values, wanted := range map[string]string{
		"{}": arguments("demo-gateway." + namespace + ".svc:7687"),
		"gateway: {readWrite: {service: {name: graph, port: 17687}}}":             arguments("graph." + namespace + ".svc:17687"),
		"tls: {secretRef: {name: instances}}":                                     arguments("demo-gateway."+namespace+".svc:7687", "--ca", authority),
		"{gateway: {tls: {secretRef: {name: own}}}, tls: {secretRef: {name: x}}}": arguments("demo-gateway."+namespace+".svc:7687", "--ca", authority),
	} {
		pod := testPod(t, clusterChart, "demo", values)
		if found := same(t, at(pod, "spec", "containers", 0, "args")); found != wanted {
			t.Errorf("%s: it is called with %s, not %s", values, found, wanted)
		}
	}
	for _, test := range []struct {
		values string
		path   []any
		wanted any
	}{
		{"tls: {secretRef: {name: instances}}", []any{"spec", "volumes", 0, "secret", "secretName"}, "instances"},
		{"{gateway: {tls: {secretRef: {name: own}}}, tls: {secretRef: {name: x}}}", []any{"spec", "volumes", 0, "secret", "secretName"}, "own"},
		{"{}", []any{"spec", "volumes"}, nil},
		{"{}", []any{"spec", "containers", 0, "env"}, nil},
		{"auth: {secretRef: {name: admin}}", []any{"spec", "containers", 0, "env", 0, "valueFrom", "secretKeyRef", "name"}, "demo-app"},
		{"auth: {secretRef: {name: admin}}", []any{"spec", "containers", 0, "env", 1, "name"}, "MEMGRAPH_USER"},
		{"auth: {secretRef: {name: admin}}", []any{"spec", "containers", 0, "env", 1, "valueFrom", "secretKeyRef", "key"}, "username"},
		{"test: {image: localhost/x}", []any{"spec", "containers", 0, "image"}, "localhost/x"},
		{"test: {labels: {app: shop}}", []any{"metadata", "labels", "app"}, "shop"},
		{"gateway: {podTemplate: {spec: {imagePullSecrets: [{name: x}]}}}", []any{"spec", "imagePullSecrets", 0, "name"}, "x"},
		{"gateway: {podTemplate: {spec: {nodeSelector: {disk: fast}}}}", []any{"spec", "nodeSelector", "disk"}, "fast"},
		{"{gateway: {enabled: false}, failover: {mode: Manual}}", nil, nil},
	} {
		pod := testPod(t, clusterChart, "demo", test.values)
		if len(test.path) == 0 {
			if pod != nil {
				t.Errorf("%s: there is %v", test.values, pod)
			}
		} else if found := at(pod, test.path...); found != test.wanted {
			t.Errorf("%s: %v is %v, not %v", test.values, test.path, found, test.wanted)
		}
	}
}
