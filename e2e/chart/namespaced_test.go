package chart

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The operator for some namespaces only: by the chart, and by config/namespaced.

func TestTheOperatorOfSomeNamespacesHasRightsInTheseOnly(t *testing.T) {
	all, plain := render(t, name, "watchNamespaces: [graphs, shop, graphs]"), render(t, name, "")
	rules := at(plain["ClusterRole/"+name], "rules")
	if rules == nil {
		t.Fatal("the operator of all namespaces has no ClusterRole")
	}
	for key := range all {
		if strings.HasPrefix(key, "ClusterRoleBinding/") || key == "ClusterRole/"+name {
			t.Errorf("%s is of the whole Kubernetes cluster", key)
		}
	}
	account := []any{object{"kind": "ServiceAccount", "name": name, "namespace": namespace}}
	for _, watched := range []string{"graphs", "shop"} {
		role, binding := all[watched+"/Role/"+name], all[watched+"/RoleBinding/"+name]
		if !reflect.DeepEqual(at(role, "rules"), rules) {
			t.Errorf("in %s it has other rights than in all namespaces: %v", watched, at(role, "rules"))
		}
		if at(binding, "roleRef", "kind") != "Role" || at(binding, "roleRef", "name") != name {
			t.Errorf("the role of %s is not bound: %v", watched, binding)
		}
		if subjects := at(binding, "subjects"); !reflect.DeepEqual(subjects, account) {
			t.Errorf("%s is bound for %v", watched, subjects)
		}
	}
	// Nothing but rights is elsewhere.
	for key := range all {
		if watched, rest, elsewhere := strings.Cut(key, "/"); elsewhere && strings.Contains(rest, "/") &&
			!slices.Contains([]string{"Role/" + name, "RoleBinding/" + name}, rest) {
			t.Errorf("%s is in %s", rest, watched)
		}
	}
	ownPodsAreSeen(t, all)
}

// ownPodsAreSeen by the operator also where it does not look after its own namespace.
func ownPodsAreSeen(t *testing.T, all map[string]object) {
	t.Helper()
	wanted := []any{object{"apiGroups": []any{""}, "resources": []any{"pods"}, "verbs": []any{"list", "watch"}}}
	if rules := at(all["Role/"+name+"-own-pods"], "rules"); !reflect.DeepEqual(rules, wanted) {
		t.Errorf("of its own pods it may do %v", rules)
	}
	binding := all["RoleBinding/"+name+"-own-pods"]
	account := []any{object{"kind": "ServiceAccount", "name": name, "namespace": namespace}}
	if at(binding, "roleRef", "name") != name+"-own-pods" || !reflect.DeepEqual(at(binding, "subjects"), account) {
		t.Errorf("the role of its own pods is not bound: %v", binding)
	}
}

func TestASecondReleaseMakesNothingOfTheWholeKubernetesCluster(t *testing.T) {
	all := render(t, name, "{watchNamespaces: [graphs], crds: {install: false}, rbac: {aggregate: false}}")
	for key, found := range all {
		if at(found, "metadata", "namespace") == nil {
			t.Errorf("%s is of the whole Kubernetes cluster", key)
		}
	}
}

func TestConfigNamespacedIsTheDefaultButForItsRightsAndNamespaces(t *testing.T) {
	plain, namespaced := kustomize(t, config), kustomize(t, "../../config/namespaced")
	if _, bound := namespaced["ClusterRoleBinding/"+name]; bound {
		t.Error("the operator has its rights in all namespaces")
	}
	delete(plain, "ClusterRoleBinding/"+name)
	binding := namespaced["graphs/RoleBinding/"+name]
	account := []any{object{"kind": "ServiceAccount", "name": name, "namespace": namespace}}
	if at(binding, "roleRef", "kind") != "ClusterRole" || at(binding, "roleRef", "name") != name ||
		!reflect.DeepEqual(at(binding, "subjects"), account) {
		t.Errorf("the operator has no rights in graphs: %v", binding)
	}
	ownPodsAreSeen(t, namespaced)
	for _, own := range []string{"graphs/RoleBinding/" + name, "RoleBinding/" + name + "-own-pods", "Role/" + name + "-own-pods"} {
		delete(namespaced, own)
	}
	container := at(namespaced["Deployment/"+name], "spec", "template", "spec", "containers", 0).(object)
	env := container["env"].([]any)
	watched := slices.IndexFunc(env, func(variable any) bool { return at(variable, "name") == "WATCH_NAMESPACES" })
	if watched < 0 || at(env[watched], "value") != "graphs" {
		t.Fatalf("the operator is not told which namespaces to look after: %v", env)
	}
	container["env"] = slices.Delete(env, watched, watched+1)
	if !reflect.DeepEqual(slices.Sorted(maps.Keys(plain)), slices.Sorted(maps.Keys(namespaced))) {
		t.Fatalf("config/default makes %v, config/namespaced %v", slices.Sorted(maps.Keys(plain)), slices.Sorted(maps.Keys(namespaced)))
	}
	for key := range plain {
		if same(t, plain[key]) != same(t, namespaced[key]) {
			t.Errorf("%s differs", key)
		}
	}
}
