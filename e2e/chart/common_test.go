package chart

import "testing"

// everything is a set of values with which the chart makes all kinds of objects that it can make.
const everything = "networkPolicy: {enabled: true}, monitoring: {serviceMonitor: {enabled: true}, podMonitor: {enabled: true}, prometheusRule: {enabled: true}, dashboard: {enabled: true}}"

// selectors are all that selects by labels in an object, by where it stands.
func selectors(path string, value any, found map[string]any) {
	switch value := value.(type) {
	case object:
		for key, field := range value {
			if key == "matchLabels" || key == "selector" {
				found[path+"/"+key] = field
			}
			selectors(path+"/"+key, field, found)
		}
	case []any:
		for _, item := range value {
			selectors(path+"/", item, found)
		}
	}
}

func TestCommonLabelsAndAnnotationsAreOnAllObjectsAndInNoSelector(t *testing.T) {
	const common = "commonLabels: {team: graphs, tier: common}, commonAnnotations: {owner: us}"
	for _, namespaces := range []string{"", ", watchNamespaces: [graphs]"} {
		plain := render(t, name, "{"+everything+namespaces+"}")
		all := render(t, name, "{"+everything+namespaces+", "+common+"}")
		pod := at(all["Deployment/"+name], "spec", "template").(object)
		all["Pod/of the Deployment"] = pod
		all["Pod/of the test"] = testPod(t, folder, name, "{"+common+"}")
		if len(all) < 15 {
			t.Fatalf("the chart makes only %d objects", len(all))
		}
		for key, made := range all {
			if at(made, "metadata", "labels", "team") != "graphs" || at(made, "metadata", "annotations", "owner") != "us" {
				t.Errorf("%s has %v", key, at(made, "metadata"))
			}
			before, after := map[string]any{}, map[string]any{}
			selectors("", plain[key], before)
			selectors("", made, after)
			if plain[key] != nil && same(t, before) != same(t, after) {
				t.Errorf("%s selects %v, and %v with common labels", key, before, after)
			}
		}
	}
}

func TestWhatIsSetForAnObjectGoesBeforeWhatIsCommon(t *testing.T) {
	all := render(t, name, "{"+everything+", commonLabels: {tier: common, release: common}, commonAnnotations: {a: common}, podLabels: {tier: own}, podAnnotations: {a: own}, service: {annotations: {a: own}}}")
	for _, test := range []struct {
		wanted string
		path   []any
	}{
		{"own", []any{"Deployment/" + name, "spec", "template", "metadata", "labels", "tier"}},
		{"own", []any{"Deployment/" + name, "spec", "template", "metadata", "annotations", "a"}},
		{"common", []any{"Deployment/" + name, "metadata", "labels", "tier"}},
		{"own", []any{"Service/" + name, "metadata", "annotations", "a"}},
		{"keep", []any{"CustomResourceDefinition/memgraphclusters.memgraph.dev", "metadata", "annotations", "helm.sh/resource-policy"}},
		{"common", []any{"CustomResourceDefinition/memgraphclusters.memgraph.dev", "metadata", "annotations", "a"}},
		{"true", []any{"ClusterRole/memgraphcluster-viewer", "metadata", "labels", "rbac.authorization.k8s.io/aggregate-to-view"}},
	} {
		if found := at(all[test.path[0].(string)], test.path[1:]...); found != test.wanted {
			t.Errorf("%v is %v, not %s", test.path, found, test.wanted)
		}
	}
}
