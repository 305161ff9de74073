package oldest

import (
	"os"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"sigs.k8s.io/yaml"
)

// An API server of this release takes the definition. Newer ones take rules to cost less: what they let pass, this one may refuse.
func TestTheDefinitionFitsTheOldestRelease(t *testing.T) {
	text, err := os.ReadFile("../../../crds/memgraphclusters.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var told v1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &told); err != nil {
		t.Fatal(err)
	}
	v1.SetDefaults_CustomResourceDefinition(&told)
	v1.SetDefaults_CustomResourceDefinitionSpec(&told.Spec)
	var definition apiextensions.CustomResourceDefinition
	if err := v1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&told, &definition, nil); err != nil {
		t.Fatal(err)
	}
	for _, version := range definition.Spec.Versions {
		definition.Status.StoredVersions = append(definition.Status.StoredVersions, version.Name)
	}
	for _, err := range validation.ValidateCustomResourceDefinition(t.Context(), &definition) {
		t.Error(err)
	}
}
