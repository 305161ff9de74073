package chart

import (
	"context"
	"encoding/json"
	"os"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// The kubeconfig of a cluster that has the definition, and a namespace of it for these tests: `make test-api` sets both.
	kubeconfigVariable = "API_SERVER_KUBECONFIG"
	namespaceVariable  = "API_SERVER_NAMESPACE"
)

// apiServer is where a real API server is, and the namespace for the test. Without one the test is left out.
func apiServer(t *testing.T) (*rest.Config, string) {
	t.Helper()
	path, space := os.Getenv(kubeconfigVariable), os.Getenv(namespaceVariable)
	if path == "" || space == "" {
		t.Skipf("%s or %s is not set", kubeconfigVariable, namespaceVariable)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	// It is one machine's own: no need to spare it.
	config.QPS = -1
	return config, space
}

// The cases that are judged by the API server's own code elsewhere, judged by a whole one.
func TestARealAPIServerJudgesTheRulesAlike(t *testing.T) {
	config, space := apiServer(t)
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	resource := schema.GroupVersionResource{Group: "memgraph.dev", Version: "v1alpha1", Resource: "memgraphclusters"}
	clusters := client.Resource(resource).Namespace(space)
	dryRun := []string{metav1.DryRunAll}
	// said is what it says of this spec; of a change where `before` is set. Nothing of it stays.
	said := func(name, before, status, spec string) string {
		text, err := json.Marshal(object{
			"apiVersion": "memgraph.dev/v1alpha1",
			"kind":       "MemgraphCluster",
			"metadata":   object{"name": name},
			"spec":       parse(t, spec),
		})
		if err != nil {
			t.Fatal(err)
		}
		cluster := &unstructured.Unstructured{}
		if err := cluster.UnmarshalJSON(text); err != nil {
			t.Fatal(err)
		}
		if before == "" {
			_, err = clusters.Create(t.Context(), cluster, metav1.CreateOptions{DryRun: dryRun})
		} else {
			old := cluster.DeepCopy()
			old.Object["spec"] = parse(t, before)
			made, failed := clusters.Create(t.Context(), old, metav1.CreateOptions{})
			if failed != nil {
				t.Fatalf("%s is refused: %v", before, failed)
			}
			defer func() {
				if err := clusters.Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}); err != nil {
					t.Error(err)
				}
			}()
			if status != "" {
				made.Object["status"] = parse(t, status)
				if made, err = clusters.UpdateStatus(t.Context(), made, metav1.UpdateOptions{}); err != nil {
					t.Fatalf("the status %s is refused: %v", status, err)
				}
			}
			cluster.SetResourceVersion(made.GetResourceVersion())
			_, err = clusters.Update(t.Context(), cluster, metav1.UpdateOptions{DryRun: dryRun})
		}
		if err != nil {
			return err.Error()
		}
		return ""
	}
	judgeRules(t, said)
}
