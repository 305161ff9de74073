package chart

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Words that YAML takes for something else where they are not quoted.
var treacherous = []string{"no", "1e3", "on", "0x1f", "123"}

// plain are words of no meaning, one for each of these.
var plain = []string{"word-zero", "word-one", "word-two", "word-three", "word-four"}

func TestNamesThatYAMLTakesForSomethingElseStayNames(t *testing.T) {
	made := func(folder string, words []string, values string) object {
		for number, word := range plain {
			values = strings.ReplaceAll(values, word, words[number])
		}
		release, err := installInto(t, words[1], folder, words[0], oldest, values)
		if err != nil {
			t.Fatalf("%s: %v", values, err)
		}
		all := object{}
		for key, made := range objects(t, []byte(release.Manifest)) {
			all[key] = made
		}
		for _, hook := range release.Hooks {
			for key, made := range objects(t, []byte(hook.Manifest)) {
				all[key] = made
			}
		}
		if len(all) < 2 {
			t.Fatalf("%s makes only %v", folder, all)
		}
		return all
	}
	for _, test := range []struct{ folder, values string }{
		{folder, `{fullnameOverride: "word-two", nameOverride: "word-three", ` + everything + `}`},
		{folder, `{serviceAccount: {name: "word-two"}, priorityClassName: "word-three", watchNamespaces: ["word-four"], ` + everything + `}`},
		{clusterChart, `{fullnameOverride: "word-two", tls: {secretRef: {name: "word-three"}}, auth: {secretRef: {name: "word-four"}}}`},
		{clusterChart, `{gateway: {readWrite: {service: {name: "word-two"}}, tls: {secretRef: {name: "word-three"}}}}`},
	} {
		wanted := same(t, made(test.folder, plain, test.values))
		for number, word := range plain {
			wanted = strings.ReplaceAll(wanted, word, treacherous[number])
		}
		if difference := cmp.Diff(parse(t, wanted), parse(t, same(t, made(test.folder, treacherous, test.values)))); difference != "" {
			t.Errorf("%s: it makes (+) and should make (-):\n%s", test.values, difference)
		}
	}
}
