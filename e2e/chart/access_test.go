package chart

import (
	"fmt"
	"testing"
)

// clientRule is from where the NetworkPolicy of a file lets clients in, which is to be to the Bolt port of the instances of the cluster
// demo and to nothing else.
func clientRule(t *testing.T, path string) any {
	t.Helper()
	var instances any
	for _, document := range documents(t, "../../src/resources/golden/quickstart.yaml") {
		if document["kind"] == "NetworkPolicy" && at(document, "metadata", "name") == "demo-instances" {
			instances = at(document, "spec", "podSelector")
		}
	}
	if instances == nil {
		t.Fatal("the operator makes no NetworkPolicy demo-instances")
	}
	for _, document := range documents(t, path) {
		if document["kind"] != "NetworkPolicy" {
			continue
		}
		if found := at(document, "spec", "podSelector"); same(t, found) != same(t, instances) {
			t.Errorf("%s is about %v, the operator's own about %v", path, found, instances)
		}
		if port := at(document, "spec", "ingress", 0, "ports", 0, "port"); fmt.Sprint(port) != "7687" {
			t.Errorf("%s opens port %v", path, port)
		}
		return at(document, "spec", "ingress", 0, "from", 0)
	}
	t.Fatalf("%s has no NetworkPolicy", path)
	return nil
}

func TestTheDemosClientIsLetToTheInstances(t *testing.T) {
	from := clientRule(t, "../demo/client-access.yaml")
	labels := at(documents(t, "../demo/client-pod.yaml")[0], "metadata", "labels")
	if same(t, from) != same(t, object{"podSelector": object{"matchLabels": labels}}) {
		t.Errorf("%v is let in, the client has %v", from, labels)
	}
}

func TestTheExportersPolicyIsAboutTheInstances(t *testing.T) {
	if clientRule(t, examples+"/monitoring/exporter_access.yaml") == nil {
		t.Error("it lets nobody in")
	}
}
