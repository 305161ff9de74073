package chart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestValuesDoWhatTheySay(t *testing.T) {
	pod := []any{"Deployment/" + name, "spec", "template", "spec"}
	container := append(slices.Clone(pod), "containers", 0)
	in := func(base []any, path ...any) []any { return append(slices.Clone(base), path...) }
	digest := "sha256:" + strings.Repeat("0", 64)
	for _, test := range []struct {
		values string
		path   []any
		wanted any
	}{
		{"replicaCount: 5", []any{"Deployment/" + name, "spec", "replicas"}, 5.0},
		{"image: {repository: localhost/x, tag: new}", in(container, "image"), "localhost/x:new"},
		{"image: {repository: localhost/x, tag: new}", in(container, "env", 0), object{"name": "OPERATOR_IMAGE", "value": "localhost/x:new"}},
		{"image: {repository: localhost/x, tag: new, digest: \"" + digest + "\"}", in(container, "image"), "localhost/x@" + digest},
		{"image: {pullPolicy: Never}", in(container, "imagePullPolicy"), "Never"},
		{"imagePullSecrets: [{name: x}]", in(pod, "imagePullSecrets"), []any{object{"name": "x"}}},
		{"crds: {install: false}", []any{"CustomResourceDefinition/memgraphclusters.memgraph.dev"}, nil},
		{"rbac: {create: false}", []any{"ClusterRole/" + name}, nil},
		{"rbac: {create: false}", []any{"RoleBinding/" + name + "-leader-election"}, nil},
		{"rbac: {create: false}", []any{"ClusterRole/memgraphcluster-editor"}, nil},
		{"rbac: {aggregate: false}", []any{"ClusterRole/memgraphcluster-editor"}, nil},
		{"serviceAccount: {create: false}", []any{"ServiceAccount/" + name}, nil},
		{"serviceAccount: {create: false}", in(pod, "serviceAccountName"), "default"},
		{"serviceAccount: {create: false, name: x}", in(pod, "serviceAccountName"), "x"},
		{"serviceAccount: {annotations: {a: b}}", []any{"ServiceAccount/" + name, "metadata", "annotations"}, object{"a": "b"}},
		{"watchNamespaces: [graphs, shop, graphs]", in(container, "env", 5), object{"name": "WATCH_NAMESPACES", "value": "graphs,shop"}},
		{"{watchNamespaces: [graphs, shop], monitoring: {podMonitor: {enabled: true}}}", []any{"PodMonitor/" + name + "-gateways", "spec", "namespaceSelector"}, object{"matchNames": []any{"graphs", "shop"}}},
		{"{watchNamespaces: [graphs], rbac: {create: false}}", []any{"graphs/Role/" + name}, nil},
		{"logLevel: debug", in(container, "env", 5), object{"name": "LOG_LEVEL", "value": "debug"}},
		{"clusterDomain: x.org", in(container, "env", 5), object{"name": "CLUSTER_DOMAIN", "value": "x.org"}},
		{"reconcileInterval: 5m", in(container, "env", 5), object{"name": "RECONCILE_INTERVAL", "value": "5m"}},
		{"leaderElection: {leaseDuration: 15s}", in(container, "env", 5), object{"name": "LEASE_DURATION", "value": "15s"}},
		{"leaderElection: {renewDeadline: 10s}", in(container, "env", 5), object{"name": "LEASE_RENEW_DEADLINE", "value": "10s"}},
		{"leaderElection: {retryPeriod: 2s}", in(container, "env", 5), object{"name": "LEASE_RETRY_PERIOD", "value": "2s"}},
		{"extraArgs: [--a, --b]", in(container, "args"), []any{"operator", "--a", "--b"}},
		{"extraEnv: [{name: A, value: b}]", in(container, "env", 5), object{"name": "A", "value": "b"}},
		{"resources: {requests: {cpu: 1}}", in(container, "resources", "requests"), object{"cpu": 1.0, "memory": "64Mi"}},
		{"podSecurityContext: {runAsUser: null}", in(pod, "securityContext", "runAsUser"), nil},
		{"securityContext: {readOnlyRootFilesystem: false}", in(container, "securityContext", "readOnlyRootFilesystem"), false},
		{"podDisruptionBudget: {enabled: false}", []any{"PodDisruptionBudget/" + name}, nil},
		{"affinity: {nodeAffinity: {}}", in(pod, "affinity"), object{"nodeAffinity": object{}}},
		{"topologySpreadConstraints: [{maxSkew: 1}]", in(pod, "topologySpreadConstraints"), []any{object{"maxSkew": 1.0}}},
		{"nodeSelector: {disk: fast}", in(pod, "nodeSelector"), object{"disk": "fast"}},
		{"tolerations: [{operator: Exists}]", in(pod, "tolerations"), []any{object{"operator": "Exists"}}},
		{"priorityClassName: system-cluster-critical", in(pod, "priorityClassName"), "system-cluster-critical"},
		{"podAnnotations: {a: b}", []any{"Deployment/" + name, "spec", "template", "metadata", "annotations"}, object{"a": "b"}},
		{"podLabels: {a: b}", []any{"Deployment/" + name, "spec", "template", "metadata", "labels", "a"}, "b"},
		{"service: {annotations: {a: b}}", []any{"Service/" + name, "metadata", "annotations"}, object{"a": "b"}},
		{"monitoring: {serviceMonitor: {enabled: true}}", []any{"ServiceMonitor/" + name, "spec", "endpoints", 0, "honorLabels"}, true},
		{"monitoring: {serviceMonitor: {enabled: true}, interval: 5s}", []any{"ServiceMonitor/" + name, "spec", "endpoints", 0, "interval"}, "5s"},
		{"monitoring: {podMonitor: {enabled: true}}", []any{"PodMonitor/" + name + "-gateways", "spec", "podMetricsEndpoints", 0, "port"}, "http"},
		{"monitoring: {prometheusRule: {enabled: true}, labels: {release: x}}", []any{"PrometheusRule/" + name, "metadata", "labels", "release"}, "x"},
		{"monitoring: {prometheusRule: {enabled: true, runbooks: \"https://x.org/a.md\"}}", []any{"PrometheusRule/" + name, "spec", "groups", 0, "rules", 0, "annotations", "runbook_url"}, "https://x.org/a.md#memgraphwritesunavailable"},
		{"monitoring: {dashboard: {enabled: true}}", []any{"ConfigMap/" + name + "-dashboard", "metadata", "labels", "grafana_dashboard"}, "1"},
		{"networkPolicy: {enabled: true}", []any{"NetworkPolicy/" + name, "spec", "ingress", 0, "ports", 0, "port"}, "http"},
		{"networkPolicy: {enabled: true, from: [{podSelector: {}}]}", []any{"NetworkPolicy/" + name, "spec", "ingress", 0, "from", 0}, object{"podSelector": object{}}},
		{"global: {anything: 1}", in(container, "name"), "operator"},
	} {
		t.Run(test.values, func(t *testing.T) {
			all := object{}
			for key, value := range render(t, name, test.values) {
				all[key] = value
			}
			if found := at(all, test.path...); !reflect.DeepEqual(normal(found), test.wanted) {
				t.Errorf("%v is %v, not %v", test.path, found, test.wanted)
			}
		})
	}
}

// same is the text that two values have if and only if they are the same.
func same(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// normal has every number as a float64, as JSON has them.
func normal(value any) any {
	switch value := value.(type) {
	case int64:
		return float64(value)
	case object:
		for key, field := range value {
			value[key] = normal(field)
		}
		return value
	case []any:
		for i, item := range value {
			value[i] = normal(item)
		}
		return value
	default:
		return value
	}
}

// Whoever has many clusters is told how many the memory suffices for that there is by default.
func TestTheGuideNamesTheMemoryThatThereIsByDefault(t *testing.T) {
	limit, _ := at(render(t, name, "")["Deployment/"+name], "spec", "template", "spec", "containers", 0, "resources", "limits", "memory").(string)
	guide, err := os.ReadFile("../../docs/how-to/install.md")
	if err != nil {
		t.Fatal(err)
	}
	if limit == "" || !strings.Contains(string(guide), "default limit of "+limit+" ") {
		t.Errorf("docs/how-to/install.md does not say for how many clusters %q suffices", limit)
	}
}

func TestWrongValuesAreRefused(t *testing.T) {
	for values, field := range map[string]string{
		"replicas: 3":                               "replicas",
		"replicaCount: two":                         "/replicaCount",
		"replicaCount: -1":                          "/replicaCount",
		"image: {tag: 1.0}":                         "/image/tag",
		"image: {tag: \"a b\"}":                     "/image/tag",
		"image: {digest: 0123}":                     "/image/digest",
		"image: {name: x}":                          "/image",
		"image: {pullPolicy: Sometimes}":            "/image/pullPolicy",
		"imagePullSecrets: [x]":                     "/imagePullSecrets/0",
		"leaderElection: {leaseDuration: 2}":        "/leaderElection/leaseDuration",
		"leaderElection: {leaseDuration: \"2 s\"}":  "/leaderElection/leaseDuration",
		"reconcileInterval: 30":                     "/reconcileInterval",
		"reconcileInterval: often":                  "/reconcileInterval",
		"watchNamespaces: graphs":                   "/watchNamespaces",
		"watchNamespaces: [\"*\"]":                  "/watchNamespaces/0",
		"watchNamespaces: [\"\"]":                   "/watchNamespaces/0",
		"crds: {install: \"yes\"}":                  "/crds/install",
		"fullnameOverride: A_B":                     "/fullnameOverride",
		"nameOverride: memgraph":                    "/nameOverride",
		"podLabels: {a: 1}":                         "/podLabels/a",
		"commonLabels: {a: b c}":                    "/commonLabels/a",
		"commonLabels: {app.kubernetes.io/name: x}": "app.kubernetes.io/name",
		"commonAnnotations: {a: 1}":                 "/commonAnnotations/a",
		"resources: {limit: {}}":                    "/resources",
	} {
		t.Run(values, func(t *testing.T) {
			_, err := install(t, folder, name, oldest, values)
			if err == nil {
				t.Fatal("it is accepted")
			}
			if !strings.Contains(err.Error(), field) {
				t.Errorf("the error does not name %s: %v", field, err)
			}
		})
	}
}

// leaves are the values that are set or documented as one: fields of what is a map in the schema with named fields.
func leaves(schema object, prefix string) []string {
	var all []string
	for key, field := range at(schema, "properties").(object) {
		if key == "global" && prefix == "" {
			continue
		}
		fields, _ := field.(object)
		if _, nested := fields["properties"]; nested && key != "resources" {
			all = append(all, leaves(fields, prefix+key+".")...)
		} else {
			all = append(all, prefix+key)
		}
	}
	return all
}

func TestEveryValueIsInTheSchemaTheDefaultsAndTheDocumentation(t *testing.T) {
	read := func(name string) []byte {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	schema := object{}
	if err := json.Unmarshal(read("values.schema.json"), &schema); err != nil {
		t.Fatal(err)
	}
	known := leaves(schema, "")
	slices.Sort(known)
	defaults := parse(t, string(read("values.yaml")))
	for _, value := range known {
		var path []any
		for _, step := range strings.Split(value, ".") {
			path = append(path, step)
		}
		if at(defaults, path...) == nil {
			t.Errorf("values.yaml does not have %s", value)
		}
	}
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Za-z.]+)` \\|").FindAllStringSubmatch(string(read("README.md")), -1) {
		documented = append(documented, row[1])
	}
	slices.Sort(documented)
	if !slices.Equal(known, documented) {
		t.Errorf("the schema has\n%v\nREADME.md has\n%v", known, documented)
	}
}
