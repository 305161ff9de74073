package chart

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/diff"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"k8s.io/kube-openapi/pkg/util/proto"
)

// Two folders with what is in Git, of which one was applied as Argo CD does by default (`kubectl apply`), the other with its option
// ServerSideApply.
const gitVariable = "GIT_FOLDER"

// What Argo CD is called in managedFields.
const argoManager = "argocd-controller"

// argoCD judges by Argo CD's own library whether what is in Git differs from what is live.
type argoCD struct {
	client dynamic.Interface
	mapper meta.RESTMapper
	parser *managedfields.GvkParser
	space  string
}

func newArgoCD(t *testing.T) argoCD {
	t.Helper()
	config, space := apiServer(t)
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	known, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	document, err := known.OpenAPISchema()
	if err != nil {
		t.Fatal(err)
	}
	models, err := proto.NewOpenAPIData(document)
	if err != nil {
		t.Fatal(err)
	}
	parser, err := managedfields.NewGVKParser(models, false)
	if err != nil {
		t.Fatal(err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(known))
	return argoCD{client, mapper, parser, space}
}

func (a argoCD) resource(config *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := config.GroupVersionKind()
	mapping, err := a.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	all := a.client.Resource(mapping.Resource)
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return all, nil
	}
	space := config.GetNamespace()
	if space == "" {
		space = a.space
	}
	return all.Namespace(space), nil
}

// Run applies it without changing anything, and returns what it would become: what Argo CD does for its option ServerSideDiff.
func (a argoCD) Run(ctx context.Context, config *unstructured.Unstructured, manager string) (string, error) {
	resource, err := a.resource(config)
	if err != nil {
		return "", err
	}
	options := metav1.ApplyOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: manager, Force: true}
	applied, err := resource.Apply(ctx, config.GetName(), config, options)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(applied)
	return string(text), err
}

func (a argoCD) differs(t *testing.T, config *unstructured.Unstructured, how ...diff.Option) (bool, string) {
	t.Helper()
	resource, err := a.resource(config)
	if err != nil {
		t.Fatal(err)
	}
	live, err := resource.Get(t.Context(), config.GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// Argo CD puts in the namespace that it applies to.
	config = config.DeepCopy()
	if live.GetNamespace() != "" {
		config.SetNamespace(live.GetNamespace())
	}
	result, err := diff.Diff(config, live, how...)
	if err != nil {
		t.Fatal(err)
	}
	var normal, predicted any
	if json.Unmarshal(result.NormalizedLive, &normal) != nil || json.Unmarshal(result.PredictedLive, &predicted) != nil {
		t.Fatal("the library returns no JSON")
	}
	return result.Modified, cmp.Diff(normal, predicted)
}

// After an operator has worked on them, what was applied from Git is what is live, in each way in which Argo CD compares the two.
func TestNothingDiffersFromGitForArgoCD(t *testing.T) {
	argo := newArgoCD(t)
	git := os.Getenv(gitVariable)
	structured := []diff.Option{diff.WithStructuredMergeDiff(true), diff.WithGVKParser(argo.parser), diff.WithManager(argoManager)}
	byServer := []diff.Option{
		diff.WithServerSideDiff(true), diff.WithServerSideDryRunner(argo), diff.WithGVKParser(argo.parser), diff.WithManager(argoManager),
	}
	for folder, ways := range map[string]map[string][]diff.Option{
		"client-side": {"three-way": nil},
		"server-side": {"structured": structured, "by the server": byServer},
	} {
		files, err := filepath.Glob(filepath.Join(git, folder, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		seen, clusters := 0, 0
		for _, file := range files {
			for _, document := range documents(t, file) {
				if len(document) == 0 {
					continue
				}
				seen++
				config := &unstructured.Unstructured{Object: document}
				for way, how := range ways {
					if differs, found := argo.differs(t, config, how...); differs {
						t.Errorf("%s, %s: %s %s differs:\n%s", folder, way, config.GetKind(), config.GetName(), found)
					}
				}
				if config.GetKind() != "MemgraphCluster" {
					continue
				}
				clusters++
				// What is changed in Git is noticed.
				changed := config.DeepCopy()
				if err := unstructured.SetNestedField(changed.Object, int64(7), "spec", "replicas"); err != nil {
					t.Fatal(err)
				}
				for way, how := range ways {
					if differs, _ := argo.differs(t, changed, how...); !differs {
						t.Errorf("%s, %s: another number of replicas is not noticed", folder, way)
					}
				}
			}
		}
		if clusters < 2 || seen < 12 {
			t.Errorf("%s: only %d objects, %d of them clusters", folder, seen, clusters)
		}
	}
}
