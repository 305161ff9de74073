package chart

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

const examples = "../../examples"

// documents reads what a file of YAML has, of whatever kind.
func documents(t *testing.T, path string) []object {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []object
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		found := object{}
		err := decoder.Decode(&found)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, found)
	}
}

// files are the YAML files below a folder.
func files(t *testing.T, folder string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.HasSuffix(path, ".yaml") {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTheAPIServerTakesTheExamples(t *testing.T) {
	valid := newClusters(t)
	found := 0
	for _, path := range append(files(t, examples), files(t, "../../config/samples")...) {
		for _, document := range documents(t, path) {
			if document["kind"] != "MemgraphCluster" {
				continue
			}
			found++
			for _, err := range valid.errors(t, document) {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	if found < 7 {
		t.Errorf("only %d MemgraphClusters were found", found)
	}
	// The check itself does refuse.
	for _, spec := range []string{
		"replicas: 0",
		"replica: 3",
		"replication: {syncReplicas: 3}",
		"{gateway: {enabled: false}, replication: {mode: Sync}}",
		"config: {data-directory: x}",
		"networkPolicy: {clients: [{}]}",
		"podTemplate: {metadata: {labels: {a: b c}}}",
		"podTemplate: {spec: {nodeSelector: {a: b c}}}",
		"networkPolicy: {clients: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}",
	} {
		wrong := object{
			"apiVersion": "memgraph.dev/v1alpha1",
			"kind":       "MemgraphCluster",
			"metadata":   object{"name": "demo"},
			"spec":       parse(t, spec),
		}
		if len(valid.errors(t, wrong)) == 0 {
			t.Errorf("%s is accepted", spec)
		}
	}
}

// Whatever installs one of the charts gives it values that it takes, and for a cluster a spec that the API server takes.
func TestTheChartsTakeWhatTheExamplesGiveThem(t *testing.T) {
	valid := newClusters(t)
	check := func(path, release, chart string, values any) {
		text, err := sigsyaml.Marshal(values)
		if err != nil {
			t.Fatal(err)
		}
		made, err := install(t, filepath.Join("../..", chart), release, oldest, string(text))
		if err != nil {
			t.Errorf("%s: %s: %v", path, release, err)
			return
		}
		for _, made := range objects(t, []byte(made.Manifest)) {
			if made["kind"] == "MemgraphCluster" {
				for _, err := range valid.errors(t, made) {
					t.Errorf("%s: %s: %v", path, release, err)
				}
			}
		}
	}
	// Of what is not published an example says by its name that another one is to be put there.
	placeholder := func(path, what string, value any) {
		if text, _ := value.(string); !strings.Contains(text, ".example.com/") {
			t.Errorf("%s: %s is %v", path, what, value)
		}
	}
	var releases []string
	for _, path := range files(t, examples) {
		for _, document := range documents(t, path) {
			var release, chart string
			var values any
			switch document["kind"] {
			case "Application":
				source := at(document, "spec", "source")
				release, _ = at(source, "helm", "releaseName").(string)
				chart, _ = at(source, "path").(string)
				values = at(source, "helm", "valuesObject")
				placeholder(path, "repoURL", at(source, "repoURL"))
			case "HelmRelease":
				release, _ = at(document, "spec", "releaseName").(string)
				chart, _ = at(document, "spec", "chart", "spec", "chart").(string)
				values = at(document, "spec", "values")
			case "GitRepository":
				placeholder(path, "url", at(document, "spec", "url"))
				continue
			default:
				continue
			}
			if release == name {
				placeholder(path, "image.repository", at(values, "image", "repository"))
			}
			releases = append(releases, release)
			check(path, release, chart, values)
		}
	}
	slices.Sort(releases)
	if wanted := []string{"demo", "demo", name, name}; !slices.Equal(releases, wanted) {
		t.Errorf("the releases are %v", releases)
	}
	for _, document := range documents(t, examples+"/monitoring/values.yaml") {
		check("monitoring/values.yaml", name, "charts/memgraph-operator", document)
	}
}

// What config/default leaves out is the same as the chart's, with the values that ask for it.
func TestTheFurtherPartsOfConfigAreTheCharts(t *testing.T) {
	for part, values := range map[string]string{
		"network-policy": "networkPolicy: {enabled: true}",
		"prometheus":     "monitoring: {serviceMonitor: {enabled: true}, podMonitor: {enabled: true}}",
	} {
		chart := render(t, name, values)
		plain := kustomize(t, "../../config/"+part)
		if len(plain) == 0 {
			t.Errorf("config/%s has nothing", part)
		}
		for key, wanted := range plain {
			found, there := chart[key]
			if !there {
				t.Errorf("the chart has no %s", key)
				continue
			}
			if difference := cmp.Diff(normal(wanted), normal(withoutHelm(t, found))); difference != "" {
				t.Errorf("%s of config/%s (-) and of the chart (+):\n%s", key, part, difference)
			}
		}
		if more := len(chart) - len(render(t, name, "")); more != len(plain) {
			t.Errorf("the chart makes %d objects more, config/%s %d", more, part, len(plain))
		}
	}
	if samples := kustomize(t, "../../config/samples"); len(samples) != 1 {
		t.Errorf("config/samples makes %v", samples)
	}
}
