module memgraph.dev/e2e/chart/definitions

go 1.26.6

// Of these modules the tests read the CustomResourceDefinitions only; nothing of them is compiled.
require (
	github.com/argoproj/argo-cd/v3 v3.4.0
	github.com/fluxcd/source-controller v1.9.0
	github.com/prometheus-operator/prometheus-operator v0.92.0
)
