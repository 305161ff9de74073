package chart

import (
	"encoding/json"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// argo judges as Argo CD does: by the script of examples/argocd, in the interpreter that Argo CD has, with no more libraries than it
// always opens.
func argo(t *testing.T, script string, cluster object) (health, message string) {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	state.SetGlobal("obj", toLua(state, cluster))
	if err := state.DoString(script); err != nil {
		t.Fatal(err)
	}
	returned, isTable := state.Get(-1).(*lua.LTable)
	if !isTable {
		t.Fatalf("the script returns %v", state.Get(-1))
	}
	return lua.LVAsString(returned.RawGetString("status")), lua.LVAsString(returned.RawGetString("message"))
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case object:
		table := state.NewTable()
		for key, field := range value {
			table.RawSetString(key, toLua(state, field))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, item := range value {
			table.Append(toLua(state, item))
		}
		return table
	case string:
		return lua.LString(value)
	case int64:
		return lua.LNumber(value)
	default:
		return lua.LNil
	}
}

func healthScript(t *testing.T) string {
	t.Helper()
	for _, document := range documents(t, examples+"/argocd/argocd-cm.yaml") {
		script, _ := at(document, "data", "resource.customizations.health.memgraph.dev_MemgraphCluster").(string)
		if script != "" {
			return script
		}
	}
	t.Fatal("there is no script")
	return ""
}

func phases(t *testing.T) []string {
	t.Helper()
	var all []string
	statuses := readDefinition(t).Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["status"]
	for _, value := range statuses.Properties["phase"].Enum {
		var phase string
		if err := json.Unmarshal(value.Raw, &phase); err != nil {
			t.Fatal(err)
		}
		if phase != "" {
			all = append(all, phase)
		}
	}
	if len(all) < 5 {
		t.Fatalf("the phases are %v", all)
	}
	return all
}

// In every phase, with every value of the conditions: what Argo CD shows is what kstatus says, by which Flux, Helm and kubectl wait,
// but where people are to be told more.
func TestArgoCDsHealthIsThatOfKstatus(t *testing.T) {
	script := healthScript(t)
	as := map[status.Status]string{
		status.CurrentStatus:     "Healthy",
		status.InProgressStatus:  "Progressing",
		status.FailedStatus:      "Degraded",
		status.TerminatingStatus: "Progressing",
	}
	truths := []string{"True", "False", "Unknown"}
	condition := func(kind, truth, reason string) any {
		return object{"type": kind, "status": truth, "reason": reason, "message": "why " + kind}
	}
	check := func(cluster object, told string) {
		t.Helper()
		judged, err := status.Compute(&unstructured.Unstructured{Object: cluster})
		if err != nil {
			t.Fatal(err)
		}
		wanted := as[judged.Status]
		if told != "" {
			wanted = told
		}
		health, message := argo(t, script, cluster)
		if health != wanted || message == "" {
			t.Errorf("Argo CD says %q (%q) and not %q of %v", health, message, wanted, cluster)
		}
	}
	cluster := func(generation int64, status any) object {
		made := object{
			"apiVersion": "memgraph.dev/v1alpha1",
			"kind":       "MemgraphCluster",
			"metadata":   object{"name": "demo", "namespace": "graphs", "generation": generation},
		}
		if status != nil {
			made["status"] = status
		}
		return made
	}
	for _, phase := range phases(t) {
		for _, ready := range truths {
			for _, reconciling := range truths {
				for _, stalled := range truths {
					for _, reason := range []string{"AsExpected", "WaitingForSwitchover"} {
						for _, rest := range [][2]string{{"False", "False"}, {"True", "False"}, {"False", "True"}} {
							paused, hibernated := rest[0], rest[1]
							waiting := reason == "WaitingForSwitchover"
							current := condition("UpToDate", "True", reason)
							if waiting {
								current = condition("UpToDate", "False", reason)
							}
							seen := object{
								"phase":              phase,
								"observedGeneration": int64(2),
								"conditions": []any{
									condition("Ready", ready, "AsExpected"),
									condition("Reconciling", reconciling, "AsExpected"),
									condition("Stalled", stalled, "AsExpected"),
									current,
									condition("Paused", paused, "Paused"),
									condition("Hibernated", hibernated, "Hibernated"),
								},
							}
							told := ""
							switch {
							case stalled == "True":
								// kstatus looks at Reconciling first. The operator says at most one of the two.
								told = "Degraded"
							case hibernated == "True":
								told = "Suspended"
							case phase == "Unavailable" || phase == "WritesBlocked":
								told = "Degraded"
							case ready == "True" && (waiting || paused == "True"):
								told = "Suspended"
							case ready != "True" && reconciling != "True":
								// kstatus has no word for it but this one.
								told = "Progressing"
							}
							check(cluster(2, seen), told)
							check(cluster(3, seen), "Progressing")
						}
					}
				}
			}
		}
	}
	going := cluster(1, nil)
	going["metadata"].(object)["deletionTimestamp"] = "2026-01-01T00:00:00Z"
	check(going, "")

	// Nobody has seen it yet: the API server shows it with what the definition has by default.
	unseen := newClusters(t).whole(t, "demo", "{}")
	unseen["metadata"].(object)["generation"] = int64(1)
	if judged, err := status.Compute(&unstructured.Unstructured{Object: unseen}); err != nil || judged.Status != status.InProgressStatus {
		t.Errorf("kstatus says %v (%v) of %v", judged, err, unseen["status"])
	}
	check(unseen, "")

	// The first that the operator says of it.
	var first []any
	for _, kind := range []string{"Ready", "Stalled", "MainAvailable", "Durable", "UpToDate", "Paused", "Hibernated"} {
		first = append(first, condition(kind, "Unknown", "WaitingForInstances"))
	}
	first = append(first, condition("Reconciling", "True", "WaitingForInstances"))
	check(cluster(1, object{"phase": "Pending", "observedGeneration": int64(1), "conditions": first}), "")
}
