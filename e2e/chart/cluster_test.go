package chart

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const clusterChart = "../../charts/memgraph-cluster"

func cluster(t *testing.T, release, values string) object {
	t.Helper()
	made, err := install(t, clusterChart, release, oldest, values)
	if err != nil {
		t.Fatal(err)
	}
	all := objects(t, []byte(made.Manifest))
	if len(all) != 1 {
		t.Fatalf("the chart makes %v", all)
	}
	for _, only := range all {
		return only
	}
	return nil
}

func TestTheValuesOfTheClusterChartAreItsSpec(t *testing.T) {
	valid := newClusters(t)
	for _, values := range []string{
		"{}",
		"replicas: 5",
		"{replicas: 1, storage: {size: 1Gi}}",
		"gateway: {enabled: true, readWrite: {service: {type: LoadBalancer, annotations: {a: b}}}}",
		"{config: {log-level: INFO}, resources: {limits: {cpu: 2, memory: 8Gi}}}",
		"networkPolicy: {clients: [{podSelector: {matchLabels: {app: x}}}]}",
		"{fencedInstances: [demo-1], updateStrategy: {mainUpdate: Supervised}}",
	} {
		made := cluster(t, "demo", values)
		if at(made, "kind") != "MemgraphCluster" || at(made, "metadata", "name") != "demo" || at(made, "metadata", "namespace") != namespace {
			t.Errorf("%s makes %v", values, made)
		}
		if found := same(t, at(made, "spec")); found != same(t, parse(t, values)) {
			t.Errorf("%s becomes %s", values, found)
		}
		for _, err := range valid.errors(t, made) {
			t.Errorf("%s: %v", values, err)
		}
	}
}

func TestNameLabelsAndAnnotationsOfTheCluster(t *testing.T) {
	made := cluster(t, "release", "{fullnameOverride: demo, labels: {team: graphs}, annotations: {a: b}, global: {x: y}}")
	for _, test := range []struct {
		wanted any
		path   []any
	}{
		{"demo", []any{"metadata", "name"}},
		{"graphs", []any{"metadata", "labels", "team"}},
		{"release", []any{"metadata", "labels", "app.kubernetes.io/instance"}},
		{"b", []any{"metadata", "annotations", "a"}},
		{nil, []any{"spec", "global"}},
		{nil, []any{"spec", "labels"}},
	} {
		if found := at(made, test.path...); found != test.wanted {
			t.Errorf("%v is %v, not %v", test.path, found, test.wanted)
		}
	}
}

func TestWrongValuesOfTheClusterAreRefused(t *testing.T) {
	for values, said := range map[string]string{
		"replica: 3":                                   "replica",
		"replicas: 0":                                  "/replicas",
		"replicas: three":                              "/replicas",
		"storage: {size: much}":                        "/storage/size",
		"storage: {sizes: 1Gi}":                        "sizes",
		"replication: {mode: Strict}":                  "/replication/mode",
		"failover: {detectionTimeout: soon}":           "/failover/detectionTimeout",
		"config: {log-level: 1}":                       "/config/log-level",
		"resources: {limits: {memory: [1Gi]}}":         "/resources/limits/memory",
		"labels: {helm.sh/chart: x}":                   "helm.sh/chart",
		"labels: {app.kubernetes.io/instance: x}":      "app.kubernetes.io/instance",
		"fullnameOverride: A_B":                        "fullnameOverride",
		"fullnameOverride: " + strings.Repeat("x", 41): "/fullnameOverride",
	} {
		_, err := install(t, clusterChart, "demo", oldest, values)
		if err == nil || !strings.Contains(err.Error(), said) {
			t.Errorf("%s: %v", values, err)
		}
	}
	if _, err := install(t, clusterChart, "1-release", oldest, ""); err == nil || !strings.Contains(err.Error(), "fullnameOverride") {
		t.Errorf("a release whose name is no cluster's: %v", err)
	}
}

// nullable are the paths of all values that may be null.
func nullable(schema object, path []string) [][]string {
	var all [][]string
	if kinds, several := schema["type"].([]any); several && slices.Contains(kinds, any("null")) {
		all = append(all, path)
	}
	properties, _ := schema["properties"].(object)
	for key, property := range properties {
		all = append(all, nullable(property.(object), append(slices.Clone(path), key))...)
	}
	return all
}

func TestWhatIsNullIsAsIfItWereNotSet(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(clusterChart, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	wanted := testPod(t, clusterChart, "demo", "")
	notes := func(values string) string {
		made, err := install(t, clusterChart, "demo", oldest, values)
		if err != nil {
			t.Fatalf("%s: %v", values, err)
		}
		return made.Info.Notes
	}
	paths := nullable(parse(t, string(text)), nil)
	if len(paths) < 20 {
		t.Fatalf("only %v may be null", paths)
	}
	for _, path := range paths {
		values := strings.Join(path, ": {") + ": null" + strings.Repeat("}", len(path)-1)
		if _, err := install(t, clusterChart, "demo", oldest, values); err != nil && strings.Contains(err.Error(), "missing propert") {
			// It stands beside something that must be set.
			continue
		}
		if found := testPod(t, clusterChart, "demo", values); same(t, found) != same(t, wanted) {
			t.Errorf("%s: the test's pod is %v", values, found)
		}
		if notes(values) != notes("") {
			t.Errorf("%s: the notes are %s", values, notes(values))
		}
	}
}

func TestTheNotesOfTheClusterSayWhereItIs(t *testing.T) {
	for values, wanted := range map[string]string{
		"{}": "Clients write through demo-gateway." + namespace + ":7687 and read through demo-gateway-read." + namespace + ":7687.\n",
		"gateway: {read: {enabled: false}, readWrite: {service: {port: 17687}}}": "through demo-gateway." + namespace + ":17687.\n",
		"{auth: {secretRef: {name: admin}}}":                                     "through demo-gateway." + namespace + ":7687.\n",
		"{auth: {secretRef: {name: admin}}, gateway: {read: {enabled: true}}}":   "and read through demo-gateway-read." + namespace + ":7687.\n",
		"{gateway: {enabled: false}, replication: {mode: StrictSync}}":           "There is no gateway",
		"storage: {retentionPolicy: {whenDeleted: Delete}}":                      "The data goes with it.",
		"storage: {size: 2Gi}": "Its volumes stay",
	} {
		made, err := install(t, clusterChart, "demo", oldest, values)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(made.Info.Notes, wanted) {
			t.Errorf("%s: the notes do not say %q:\n%s", values, wanted, made.Info.Notes)
		}
	}
}
