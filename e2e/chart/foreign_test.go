package chart

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	"sigs.k8s.io/yaml"
)

// Where the CustomResourceDefinitions of others are, of what the charts and the examples make: in which module of definitions/go.mod, and
// below which folder of it. Of Flux' HelmRelease there is a Go type alone.
var foreign = map[string]struct{ module, file string }{
	"argoproj.io/Application": {
		"github.com/argoproj/argo-cd/v3", "manifests/crds/application-crd.yaml",
	},
	"source.toolkit.fluxcd.io/GitRepository": {
		"github.com/fluxcd/source-controller", "config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml",
	},
	"monitoring.coreos.com/ServiceMonitor": {
		"github.com/prometheus-operator/prometheus-operator", "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
	},
	"monitoring.coreos.com/PodMonitor": {
		"github.com/prometheus-operator/prometheus-operator", "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
	},
	"monitoring.coreos.com/PrometheusRule": {
		"github.com/prometheus-operator/prometheus-operator", "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
	},
}

// moduleFolder is where the sources of a module of definitions/go.mod are, which are fetched if they are not there.
func moduleFolder(t *testing.T, module string) string {
	t.Helper()
	fetch := exec.Command("go", "mod", "download", "-json", module)
	fetch.Dir = "definitions"
	told, err := fetch.Output()
	if err != nil {
		t.Fatalf("go mod download %s: %v: %s", module, err, told)
	}
	found := struct{ Dir string }{}
	if err := json.Unmarshal(told, &found); err != nil {
		t.Fatal(err)
	}
	return found.Dir
}

// foreigners checks objects of others' kinds.
type foreigners struct {
	known map[string]checked
	seen  map[string]int
}

// errors says why an API server with the definitions of others would refuse this object. Of kinds that are not known it says nothing.
func (f foreigners) errors(t *testing.T, made object) []string {
	t.Helper()
	version, _ := made["apiVersion"].(string)
	group, version, ofGroup := strings.Cut(version, "/")
	kind, _ := made["kind"].(string)
	if !ofGroup {
		return nil
	}
	key := group + "/" + kind
	if key == "helm.toolkit.fluxcd.io/HelmRelease" && version == helmv2.GroupVersion.Version {
		f.seen[key]++
		text, err := yaml.Marshal(made)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(text, &helmv2.HelmRelease{}); err != nil {
			return []string{err.Error()}
		}
		return nil
	}
	there, known := foreign[key]
	if !known {
		if strings.HasSuffix(group, ".fluxcd.io") || strings.HasPrefix(group, "argoproj") || strings.HasPrefix(group, "monitoring.") {
			return []string{"nothing here knows " + made["apiVersion"].(string) + " " + kind}
		}
		return nil
	}
	f.seen[key]++
	valid, read := f.known[key+"/"+version]
	if !read {
		definition := readDefinitionOf(t, filepath.Join(moduleFolder(t, there.module), there.file))
		for _, served := range definition.Spec.Versions {
			if served.Served && served.Name == version {
				valid, read = newChecked(t, served.Schema), true
			}
		}
		if !read {
			return []string{key + " has no version " + version}
		}
		f.known[key+"/"+version] = valid
	}
	var all []string
	for _, err := range valid.errors(t, made) {
		all = append(all, err.Error())
	}
	return all
}

func TestArgoFluxAndThePrometheusOperatorTakeWhatIsMadeForThem(t *testing.T) {
	valid := foreigners{map[string]checked{}, map[string]int{}}
	check := func(where string, made object) {
		for _, err := range valid.errors(t, made) {
			t.Errorf("%s: %s %v: %s", where, made["kind"], at(made, "metadata", "name"), err)
		}
	}
	for _, path := range files(t, examples) {
		for _, document := range documents(t, path) {
			if document["kind"] != nil {
				check(path, document)
			}
		}
	}
	for _, values := range []string{
		"{" + everything + "}",
		"{watchNamespaces: [graphs, shop], commonLabels: {team: graphs}, monitoring: {labels: {release: x}, interval: 5s, " +
			"serviceMonitor: {enabled: true}, podMonitor: {enabled: true}, prometheusRule: {enabled: true, runbooks: \"https://x.org/a.md\"}}}",
	} {
		for _, made := range render(t, name, values) {
			check("the chart", made)
		}
	}
	for _, made := range kustomize(t, "../../config/prometheus") {
		check("config/prometheus", made)
	}
	for key := range foreign {
		if valid.seen[key] == 0 {
			t.Errorf("no %s was found", key)
		}
	}
	if valid.seen["helm.toolkit.fluxcd.io/HelmRelease"] == 0 {
		t.Error("no HelmRelease was found")
	}
}

// The check itself does refuse.
func TestWhatTheyDoNotTakeIsNoticed(t *testing.T) {
	valid := foreigners{map[string]checked{}, map[string]int{}}
	for _, wrong := range []string{
		"{apiVersion: argoproj.io/v1alpha1, kind: Application, metadata: {name: a}, spec: {project: default, destination: {}, sources: {}}}",
		"{apiVersion: argoproj.io/v1, kind: Application, metadata: {name: a}, spec: {project: default, destination: {}}}",
		"{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: a}, spec: {uri: https://a.org, interval: 1m}}",
		"{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepo, metadata: {name: a}}",
		"{apiVersion: helm.toolkit.fluxcd.io/v2, kind: HelmRelease, metadata: {name: a}, spec: {interval: 1m, release: a}}",
		"{apiVersion: monitoring.coreos.com/v1, kind: ServiceMonitor, metadata: {name: a}, spec: {selector: {}, endpoints: [{honourLabels: true}]}}",
		"{apiVersion: monitoring.coreos.com/v1, kind: PodMonitor, metadata: {name: a}, spec: {selector: {}, podMetricsEndpoints: [{interval: 5}]}}",
		"{apiVersion: monitoring.coreos.com/v1, kind: PrometheusRule, metadata: {name: a}, spec: {groups: [{name: a, rules: [{alert: A}]}]}}",
	} {
		if len(valid.errors(t, parse(t, wrong))) == 0 {
			t.Errorf("%s is taken", wrong)
		}
	}
}
