package chart

import (
	"fmt"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	"sigs.k8s.io/yaml"
)

// kept is what the API server stores of this object, by its own code: with its defaults, in its words, and without what has none.
func kept(t *testing.T, sent object) object {
	t.Helper()
	text, err := yaml.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	if text, err = yaml.YAMLToJSON(text); err != nil {
		t.Fatal(err)
	}
	apps := schema.GroupVersion{Group: "apps", Version: "v1"}
	inside := schema.GroupVersion{Group: "apps", Version: runtime.APIVersionInternal}
	set, err := runtime.Decode(legacyscheme.Codecs.UniversalDecoder(inside), text)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := runtime.Encode(legacyscheme.Codecs.LegacyCodec(apps), set)
	if err != nil {
		t.Fatal(err)
	}
	found := object{}
	if err := yaml.Unmarshal(stored, &found); err != nil {
		t.Fatal(err)
	}
	return found
}

// lost tells the fields of what was sent that are not there, or are others.
func lost(path string, sent, stored any) []string {
	var all []string
	switch sent := sent.(type) {
	case object:
		stored, _ := stored.(object)
		for field, value := range sent {
			all = append(all, lost(path+"."+field, value, stored[field])...)
		}
	case []any:
		stored, _ := stored.([]any)
		if len(stored) != len(sent) {
			return []string{fmt.Sprintf("%s: %v, and not %v", path, stored, sent)}
		}
		for index, value := range sent {
			all = append(all, lost(fmt.Sprintf("%s[%d]", path, index), value, stored[index])...)
		}
	default:
		if fmt.Sprint(sent) != fmt.Sprint(stored) {
			return []string{fmt.Sprintf("%s: %v, and not %v", path, stored, sent)}
		}
	}
	return all
}

// Whatever the API server spells otherwise than the operator would be applied again and again.
func TestTheAPIServerKeepsInstancesAsTheOperatorWritesThem(t *testing.T) {
	// The last one has all that users can have run beside Memgraph, in words of their own.
	files, err := filepath.Glob("../../src/resources/golden/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range append(files, "../../src/resources/tests/containers.yaml") {
		sets := 0
		for _, document := range documents(t, file) {
			if document["kind"] != "StatefulSet" {
				continue
			}
			sets++
			for _, what := range lost("", document["spec"], kept(t, document)["spec"]) {
				t.Errorf("%s: %s", file, what)
			}
		}
		if sets != 1 {
			t.Errorf("%s has %d StatefulSets", file, sets)
		}
	}
}
