// Package chart tests what users apply, without a cluster: that charts/memgraph-operator makes what config makes, that the
// values of the charts do what they say, and that wrong ones are refused.
package chart

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	sigsyaml "sigs.k8s.io/yaml"
)

const (
	folder    = "../../charts/memgraph-operator"
	config    = "../../config/default"
	name      = "memgraph-operator"
	namespace = "memgraph-operator-system"
	oldest    = "v1.33.0"
)

// object is a Kubernetes object as JSON has it.
type object = map[string]any

// at walks down the fields and list positions of an object; nil if there is nothing.
func at(value any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			fields, _ := value.(object)
			value = fields[step]
		case int:
			items, _ := value.([]any)
			if step >= len(items) {
				return nil
			}
			value = items[step]
		}
	}
	return value
}

// objects reads YAML documents into a map by kind and name; those of another namespace than the release's have it in front.
func objects(t *testing.T, manifests []byte) map[string]object {
	t.Helper()
	all := map[string]object{}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096)
	for {
		var found object
		err := decoder.Decode(&found)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if found == nil {
			continue
		}
		key := fmt.Sprintf("%s/%s", found["kind"], at(found, "metadata", "name"))
		if other, there := at(found, "metadata", "namespace").(string); there && other != namespace {
			key = other + "/" + key
		}
		if _, twice := all[key]; twice {
			t.Fatalf("%s is there twice", key)
		}
		all[key] = found
	}
}

func load(t *testing.T, folder string) *chartv2.Chart {
	t.Helper()
	chart, err := loader.LoadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	return chart
}

func parse(t *testing.T, values string) object {
	t.Helper()
	parsed := object{}
	if err := sigsyaml.UnmarshalStrict([]byte(values), &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}

// install does what `helm install --dry-run=client` does.
func install(t *testing.T, folder, release, kubernetes, values string) (*releasev1.Release, error) {
	t.Helper()
	return installInto(t, namespace, folder, release, kubernetes, values)
}

func installInto(t *testing.T, namespace, folder, release, kubernetes, values string) (*releasev1.Release, error) {
	t.Helper()
	client := action.NewInstall(action.NewConfiguration())
	client.DryRunStrategy = action.DryRunClient
	client.Replace = true
	client.ReleaseName = release
	client.Namespace = namespace
	version, err := common.ParseKubeVersion(kubernetes)
	if err != nil {
		t.Fatal(err)
	}
	client.KubeVersion = version
	made, err := client.Run(load(t, folder), parse(t, values))
	if err != nil {
		return nil, err
	}
	return made.(*releasev1.Release), nil
}

func render(t *testing.T, release, values string) map[string]object {
	t.Helper()
	made, err := install(t, folder, release, oldest, values)
	if err != nil {
		t.Fatal(err)
	}
	return objects(t, []byte(made.Manifest))
}

func kustomize(t *testing.T, folder string) map[string]object {
	t.Helper()
	// kustomize reads nothing outside of the folder's root, and refuses relative ones.
	path, err := filepath.Abs(folder)
	if err != nil {
		t.Fatal(err)
	}
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), path)
	if err != nil {
		t.Fatal(err)
	}
	manifests, err := made.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return objects(t, manifests)
}

// withoutHelm takes away what only Helm's objects have.
func withoutHelm(t *testing.T, found object) object {
	t.Helper()
	labels := at(found, "metadata", "labels").(object)
	for label, value := range map[string]string{
		"app.kubernetes.io/instance":   name,
		"app.kubernetes.io/version":    load(t, folder).Metadata.AppVersion,
		"app.kubernetes.io/managed-by": "Helm",
		"helm.sh/chart":                name + "-" + load(t, folder).Metadata.Version,
	} {
		if labels[label] != value {
			t.Errorf("%s %s: label %s is %v, not %s", found["kind"], at(found, "metadata", "name"), label, labels[label], value)
		}
		delete(labels, label)
	}
	if found["kind"] == "CustomResourceDefinition" {
		annotations := at(found, "metadata", "annotations").(object)
		if annotations["helm.sh/resource-policy"] != "keep" {
			t.Errorf("the CustomResourceDefinition would go with the release: %v", annotations)
		}
		delete(annotations, "helm.sh/resource-policy")
		if len(annotations) == 0 {
			delete(at(found, "metadata").(object), "annotations")
		}
		// The same label as all that config/default makes, but for the CustomResourceDefinition, which comes from the types.
		delete(labels, "app.kubernetes.io/name")
		if len(labels) == 0 {
			delete(at(found, "metadata").(object), "labels")
		}
	}
	return found
}

func TestTheDefaultsMakeWhatConfigMakes(t *testing.T) {
	chart, plain := render(t, name, ""), kustomize(t, config)
	// A release has its namespace from `helm install --create-namespace`.
	delete(plain, "Namespace/"+namespace)
	keys := func(all map[string]object) []string { return slices.Sorted(maps.Keys(all)) }
	if !slices.Equal(keys(chart), keys(plain)) {
		t.Fatalf("the chart makes\n%v\nconfig/default makes\n%v", keys(chart), keys(plain))
	}
	for key, wanted := range plain {
		if difference := cmp.Diff(wanted, withoutHelm(t, chart[key])); difference != "" {
			t.Errorf("%s of config/default (-) and of the chart (+):\n%s", key, difference)
		}
	}
}

func TestTheVersionIsTheProjects(t *testing.T) {
	cargo, err := os.ReadFile("../../Cargo.toml")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^version = "(.*)"$`).FindStringSubmatch(string(cargo))
	if version == nil {
		t.Fatal("Cargo.toml has no version")
	}
	for _, folder := range []string{folder, clusterChart} {
		if found := load(t, folder).Metadata; found.Version != version[1] || found.AppVersion != version[1] {
			t.Errorf("%s has version %s and appVersion %s, Cargo.toml %s", folder, found.Version, found.AppVersion, version[1])
		}
	}
}

func TestHelmHasNothingToSayAgainstThem(t *testing.T) {
	linter := action.NewLint()
	linter.Strict = true
	result := linter.Run([]string{folder, clusterChart}, nil)
	for _, err := range result.Errors {
		t.Error(err)
	}
	for _, message := range result.Messages {
		if message.Severity > support.InfoSev {
			t.Error(message)
		}
	}
}

// Whatever the names are: what is referred to is there, and every selector finds the pods and only them.
func TestNamesFitEachOther(t *testing.T) {
	for values, full := range map[string]string{
		"":                                 "db-memgraph-operator",
		"fullnameOverride: other":          "other",
		"nameOverride: graph":              "db-graph",
		"serviceAccount: {name: somebody}": "db-memgraph-operator",
		"podLabels: {team: graphs}":        "db-memgraph-operator",
		"{replicaCount: 5, rbac: {create: true}}": "db-memgraph-operator",
	} {
		t.Run(values, func(t *testing.T) {
			all := render(t, "db", values)
			account := full
			if strings.Contains(values, "somebody") {
				account = "somebody"
			}
			deployment := all["Deployment/"+full]
			for path, wanted := range map[string]any{
				"ServiceAccount/" + account:         account,
				"Service/" + full:                   full,
				"ClusterRole/" + full:               full,
				"Role/" + full + "-leader-election": full + "-leader-election",
				"PodDisruptionBudget/" + full:       full,
			} {
				if at(all[path], "metadata", "name") != wanted {
					t.Errorf("%s is not there: %v", path, slices.Sorted(maps.Keys(all)))
				}
			}
			if used := at(deployment, "spec", "template", "spec", "serviceAccountName"); used != account {
				t.Errorf("the pods run as %v, not %s", used, account)
			}
			for binding, role := range map[string]string{"ClusterRoleBinding/" + full: full, "RoleBinding/" + full + "-leader-election": full + "-leader-election"} {
				if found := at(all[binding], "roleRef", "name"); found != role {
					t.Errorf("%s binds %v, not %s", binding, found, role)
				}
				subject := object{"kind": "ServiceAccount", "name": account, "namespace": namespace}
				if found := at(all[binding], "subjects"); !reflect.DeepEqual(found, []any{subject}) {
					t.Errorf("%s is for %v, not %v", binding, found, subject)
				}
			}
			labels := at(deployment, "spec", "template", "metadata", "labels").(object)
			for what, selector := range map[string]any{
				"Deployment":          at(deployment, "spec", "selector", "matchLabels"),
				"Service":             at(all["Service/"+full], "spec", "selector"),
				"PodDisruptionBudget": at(all["PodDisruptionBudget/"+full], "spec", "selector", "matchLabels"),
				"affinity": at(deployment, "spec", "template", "spec", "affinity", "podAntiAffinity",
					"preferredDuringSchedulingIgnoredDuringExecution", 0, "podAffinityTerm", "labelSelector", "matchLabels"),
			} {
				fields, _ := selector.(object)
				if len(fields) == 0 {
					t.Errorf("%s selects everything", what)
				}
				for label, value := range fields {
					if labels[label] != value {
						t.Errorf("%s selects %s=%v, the pods have %v", what, label, value, labels)
					}
				}
			}
		})
	}
}

func TestAnOldKubernetesIsRefused(t *testing.T) {
	if _, err := install(t, folder, name, "v1.32.9", ""); err == nil || !strings.Contains(err.Error(), "1.33") {
		t.Errorf("Kubernetes 1.32: %v", err)
	}
	// As managed offerings name them.
	if _, err := install(t, folder, name, "v1.34.1-gke.100", ""); err != nil {
		t.Errorf("Kubernetes 1.34: %v", err)
	}
}

func TestTheNotesSayWhatIsSpecial(t *testing.T) {
	for values, wanted := range map[string]string{
		"":                       "kubectl --namespace " + namespace + " rollout status deployment/" + name,
		"crds: {install: false}": "installs no CustomResourceDefinition",
		"replicaCount: 1":        "no failover while the only one",
		"watchNamespaces: null":  "MemgraphCluster of this Kubernetes cluster",
	} {
		made, err := install(t, folder, name, oldest, values)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(made.Info.Notes, wanted) {
			t.Errorf("%q: the notes do not say %q:\n%s", values, wanted, made.Info.Notes)
		}
	}
}
