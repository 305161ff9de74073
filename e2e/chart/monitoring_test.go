package chart

import (
	"strings"
	"testing"
)

func TestTheAlertForALostLeaderIsAboutTheReleasesOwnNamespace(t *testing.T) {
	made, err := installInto(t, "shop-operator", folder, name, oldest, "{watchNamespaces: [shop], monitoring: {prometheusRule: {enabled: true}}}")
	if err != nil {
		t.Fatal(err)
	}
	rules, _ := at(objects(t, []byte(made.Manifest))["shop-operator/PrometheusRule/"+name], "spec", "groups", 0, "rules").([]any)
	for _, rule := range rules {
		if at(rule, "alert") != "MemgraphOperatorWithoutLeader" {
			continue
		}
		if found := at(rule, "expr").(string); !strings.HasSuffix(found, ` or absent(memgraph_operator_leader{namespace="shop-operator"})`) {
			t.Errorf("it asks for %s", found)
		}
		return
	}
	t.Fatalf("the alert is not among %v", rules)
}
