package chart

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	kubernetesjson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

const definition = "../../crds/memgraphclusters.yaml"

// checked checks custom resources of one kind as the API server does, by its own code.
type checked struct {
	schema    *structuralschema.Structural
	validator validation.SchemaValidator
	rules     *cel.Validator
}

func readDefinition(t *testing.T) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	return readDefinitionOf(t, definition)
}

func readDefinitionOf(t *testing.T, path string) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	definition := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(text, definition); err != nil {
		t.Fatal(err)
	}
	return definition
}

func newClusters(t *testing.T) checked {
	t.Helper()
	return newChecked(t, readDefinition(t).Spec.Versions[0].Schema)
}

func newChecked(t *testing.T, given *apiextensionsv1.CustomResourceValidation) checked {
	t.Helper()
	validated := apiextensions.CustomResourceValidation{}
	if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(given, &validated, nil); err != nil {
		t.Fatal(err)
	}
	schema, err := structuralschema.NewStructural(validated.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	validator, _, err := validation.NewSchemaValidator(validated.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	return checked{schema, validator, cel.NewValidator(schema, true, celconfig.PerCallLimit)}
}

// errors says why the API server would refuse this one. Fields that there are not are refused, as `kubectl apply` has it.
func (c checked) errors(t *testing.T, cluster object) field.ErrorList {
	t.Helper()
	// Whole numbers are decoded as such.
	text, err := json.Marshal(cluster)
	if err != nil {
		t.Fatal(err)
	}
	cluster = object{}
	if err := kubernetesjson.Unmarshal(text, &cluster); err != nil {
		t.Fatal(err)
	}
	var errs field.ErrorList
	options := structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
	for _, path := range pruning.PruneWithOptions(cluster, c.schema, true, options) {
		errs = append(errs, field.Invalid(field.NewPath(path), nil, "there is no such field"))
	}
	defaulting.Default(cluster, c.schema)
	errs = append(errs, validation.ValidateCustomResource(nil, cluster, c.validator)...)
	found, _ := c.rules.Validate(t.Context(), nil, c.schema, cluster, nil, celconfig.RuntimeCELCostBudget)
	return append(errs, found...)
}

// jsonSchema turns the part of a CustomResourceDefinition into JSON Schema: what Kubernetes calls otherwise, and no field that is not
// named.
func jsonSchema(part object) object {
	schema := object{}
	for key, value := range part {
		switch key {
		case "description", "default", "enum", "required", "pattern", "type",
			"minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties":
			schema[key] = value
		case "properties":
			properties := object{}
			for name, property := range value.(object) {
				properties[name] = jsonSchema(property.(object))
			}
			schema[key] = properties
			schema["additionalProperties"] = false
		case "items", "additionalProperties":
			schema[key] = jsonSchema(value.(object))
		}
	}
	if part["x-kubernetes-int-or-string"] == true {
		schema["type"] = []any{"integer", "string"}
	}
	if kind, one := schema["type"].(string); one && part["nullable"] == true {
		schema["type"] = []any{kind, "null"}
		if values, chosen := schema["enum"].([]any); chosen {
			schema["enum"] = append(slices.Clone(values), nil)
		}
	}
	return schema
}

// The schema of the cluster chart's values is that of the spec. `UPDATE_GOLDEN=1 go test .`, or `make crds`, writes it.
func TestTheClusterChartTakesTheFieldsOfTheSpec(t *testing.T) {
	text, err := json.Marshal(readDefinition(t).Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"])
	if err != nil {
		t.Fatal(err)
	}
	spec := object{}
	if err := json.Unmarshal(text, &spec); err != nil {
		t.Fatal(err)
	}
	schema := jsonSchema(spec)
	schema["$schema"] = "http://json-schema.org/draft-07/schema#"
	schema["title"] = "Values of the chart memgraph-cluster"
	strings := object{"type": "object", "additionalProperties": object{"type": "string"}}
	// Those that the chart itself gives: a key that is there twice is refused by some who read YAML, and taken by others.
	given := []any{"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "helm.sh/chart"}
	labels := maps.Clone(strings)
	labels["description"] = "Further labels; those that the chart itself gives cannot be among them"
	labels["propertyNames"] = object{"not": object{"enum": given}}
	properties := schema["properties"].(object)
	for name, own := range map[string]object{
		"global":           {"description": "Of an umbrella chart; not used here", "type": "object"},
		"fullnameOverride": {"description": "The cluster's name. Empty: the release's name", "type": "string", "maxLength": 40},
		"labels":           labels,
		"annotations":      strings,
		"test": {
			"description":          "The pod of `helm test`",
			"type":                 "object",
			"additionalProperties": false,
			"properties": object{
				"image":  object{"description": "The operator's image. Empty: that of the chart's appVersion", "type": "string"},
				"labels": strings,
			},
		},
	} {
		if _, taken := properties[name]; taken {
			t.Fatalf("spec.%s has the name of a value of the chart's own", name)
		}
		properties[name] = own
	}
	wanted := &bytes.Buffer{}
	encoder := json.NewEncoder(wanted)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(schema); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(clusterChart, "values.schema.json")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, wanted.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	found, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(found, wanted.Bytes()) {
		t.Errorf("%s is not up to date: run make crds", path)
	}
}
