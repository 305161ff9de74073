package chart

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	definitions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apimachinery/pkg/api/validation"
	kubernetesjson "k8s.io/apimachinery/pkg/util/json"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	sigsyaml "sigs.k8s.io/yaml"
)

// ruleCase is a spec that a rule refuses, if there is one, and one beside it that it takes. Where `before` is set, it is a change of that
// spec, of a cluster with this status.
type ruleCase struct {
	said, before, status, refused, accepted string
	// The cluster's name; empty: demo.
	name string
}

const (
	mounted  = "podTemplate: {spec: {volumes: [{name: modules, emptyDir: {}}]}, container: {volumeMounts: [{name: %s, mountPath: %s}]}}"
	variable = "podTemplate: {container: {env: [{name: %s}]}}"
	beside   = "podTemplate: {spec: {volumes: [{name: spool, emptyDir: {}}], containers: [{image: a, name: %s}]}}"
	balanced = "gateway: {readWrite: {service: {type: LoadBalancer, %s}}}"
	before   = "podTemplate: {spec: {volumes: [{name: spool, emptyDir: {}}], initContainers: [{image: a, name: %s}]}}"
)

// Each rule of the definition, by how its message begins.
var ruleCases = []ruleCase{
	{said: "metadata.name: at most 40 characters", name: "1-demo", refused: "{}"},
	{said: "spec.switchover.target: must be the name", refused: "switchover: {requestId: a, target: other-1}", accepted: "switchover: {requestId: a, target: demo-1}"},
	{said: "spec.bootstrap.recover.main: must be the name", refused: "bootstrap: {recover: {main: demo, stateId: abc}}", accepted: "bootstrap: {recover: {main: demo-0, stateId: abc}}"},
	{said: "spec.fencedInstances: each must be the name", refused: "fencedInstances: [demo-0, demo-01]", accepted: "fencedInstances: [demo-0, demo-1]"},
	{said: "spec.replication.preferredMain: must be the name", refused: "replication: {preferredMain: other-1}", accepted: "replication: {preferredMain: demo-1}"},
	{said: "replication.syncReplicas: must be less than replicas", refused: "{replicas: 2, replication: {syncReplicas: 2}}", accepted: "{replicas: 2, replication: {syncReplicas: 1}}"},
	{said: "replication.electableInstances: must not be greater", refused: "replication: {electableInstances: 4}", accepted: "replication: {electableInstances: 3}"},
	{said: "replication.electableInstances: must be greater than syncReplicas", refused: "replication: {electableInstances: 1}", accepted: "replication: {electableInstances: 2}"},
	{said: "replication.syncReplicas: 0 is allowed only", refused: "replication: {syncReplicas: 0}", accepted: "{replicas: 1, replication: {syncReplicas: 0}}"},
	{said: "gateway.enabled: false needs", refused: "{gateway: {enabled: false}, replication: {mode: Sync}}", accepted: "{gateway: {enabled: false}, replication: {mode: Sync}, failover: {mode: Manual}}"},
	{said: "auth: cannot be removed", before: "auth: {secretRef: {name: a}}", refused: "{}", accepted: "auth: {secretRef: {name: b}}"},
	{said: "auth.secretRef.name: must be the name of a Secret", refused: "auth: {secretRef: {name: A_B}}", accepted: "auth: {secretRef: {name: a-b}}"},
	{said: "tls.secretRef.name: must be the name of a Secret", refused: "tls: {secretRef: {name: A_B}}", accepted: "tls: {secretRef: {name: a-b}}"},
	{said: "gateway.tls.secretRef.name: must be the name of a Secret", refused: "gateway: {tls: {secretRef: {name: A_B}}}", accepted: "gateway: {tls: {secretRef: {name: a-b}}}"},
	{said: "license.secretRef.name: must be the name of a Secret", refused: "license: {secretRef: {name: A_B}}", accepted: "license: {secretRef: {name: a-b}}"},
	{said: "podTemplate.container.env: MEMGRAPH_ENTERPRISE_LICENSE and", refused: "{license: {secretRef: {name: a}}, " + fmt.Sprintf(variable, "MEMGRAPH_ENTERPRISE_LICENSE, value: a") + "}", accepted: fmt.Sprintf(variable, "MEMGRAPH_ENTERPRISE_LICENSE, value: a")},
	{said: "config: a flag is written without leading dashes", refused: "config: {--log-level: INFO}", accepted: "config: {log-level: INFO}"},
	{said: "config: belongs to the operator and cannot be set", refused: "config: {bolt-port: \"7688\"}", accepted: "config: {bolt-num-workers: \"2\"}"},
	{said: "config: a flag is switched off by its value", refused: "config: {nostorage-gc-aggressive: \"true\"}", accepted: "config: {storage-gc-aggressive: \"false\"}"},
	{said: "config: storage-snapshot-interval-sec must be", refused: "config: {storage-snapshot-interval-sec: \"0\"}", accepted: "config: {storage-snapshot-interval-sec: \"1\"}"},
	{said: "hangTimeout: must be at least 60s", refused: "failover: {hangTimeout: 59s}", accepted: "failover: {hangTimeout: 60s}"},
	{said: "hangTimeout: must not be less than detectionTimeout", refused: "failover: {detectionTimeout: 61s}", accepted: "failover: {detectionTimeout: 60s}"},
	{said: "grantTTL: must be between", refused: "gateway: {grantTTL: 5s}", accepted: "gateway: {grantTTL: 4s}"},
	{said: "connectTimeout: must be at least 100ms", refused: "gateway: {connectTimeout: 99ms}", accepted: "gateway: {connectTimeout: 100ms}"},
	{said: "idleTimeout: must be at least 1s", refused: "gateway: {idleTimeout: 999ms}", accepted: "gateway: {idleTimeout: 0s}"},
	{said: "sourceRanges: each must be a network", refused: "gateway: {read: {sourceRanges: [10.0.0.1]}}", accepted: "gateway: {read: {sourceRanges: [10.0.0.1/32]}}"},
	{said: "balancers: each must be a network", refused: "gateway: {readWrite: {proxyProtocol: {balancers: [nodes]}}}", accepted: "gateway: {readWrite: {proxyProtocol: {balancers: [10.0.0.0/8]}}}"},
	{said: "loadBalancerSourceRanges: each must be a network", refused: "gateway: {readWrite: {service: {type: LoadBalancer, loadBalancerSourceRanges: [all]}}}", accepted: "gateway: {readWrite: {service: {type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0/8]}}}"},
	{said: "service.loadBalancerSourceRanges: needs type LoadBalancer", refused: "gateway: {readWrite: {service: {loadBalancerSourceRanges: [10.0.0.0/8]}}}", accepted: "gateway: {readWrite: {service: {type: NodePort}}}"},
	{said: "service.externalTrafficPolicy: is about connections from outside", refused: "gateway: {read: {service: {externalTrafficPolicy: Local}}}", accepted: "gateway: {read: {service: {type: NodePort, externalTrafficPolicy: Local}}}"},
	{said: "service.nodePort: needs type NodePort or LoadBalancer", refused: "gateway: {readWrite: {service: {nodePort: 30687}}}", accepted: "gateway: {readWrite: {service: {type: LoadBalancer, nodePort: 30687}}}"},
	{said: "gateway: readWrite.service.nodePort and read.service.nodePort must differ", refused: "gateway: {readWrite: {service: {type: NodePort, nodePort: 30687}}, read: {service: {type: NodePort, nodePort: 30687}}}", accepted: "gateway: {readWrite: {service: {type: NodePort, nodePort: 30687}}, read: {service: {type: NodePort, nodePort: 30688}}}"},
	{said: "service.loadBalancerClass: needs type LoadBalancer", refused: "gateway: {read: {service: {type: NodePort, loadBalancerClass: example.com/a}}}", accepted: "gateway: {read: {service: {type: LoadBalancer, loadBalancerClass: example.com/a}}}"},
	{said: "service.loadBalancerClass: Kubernetes lets nobody change it", before: fmt.Sprintf(balanced, "loadBalancerClass: a"), refused: fmt.Sprintf(balanced, "loadBalancerClass: b"), accepted: fmt.Sprintf(balanced, "loadBalancerClass: b, name: other")},
	{said: "service.loadBalancerClass: Kubernetes lets nobody change it", before: fmt.Sprintf(balanced, "name: a"), refused: fmt.Sprintf(balanced, "name: a, loadBalancerClass: b"), accepted: "gateway: {readWrite: {service: {name: a, type: NodePort}}}"},
	{said: "service.loadBalancerClass: Kubernetes lets nobody change it", before: fmt.Sprintf(balanced, "loadBalancerClass: a"), refused: "gateway: {readWrite: {service: {type: LoadBalancer}}}", accepted: fmt.Sprintf(balanced, "loadBalancerClass: a, port: 7688")},
	{said: "service.nodePort: the Service of the former name has it", before: "gateway: {readWrite: {service: {type: NodePort, nodePort: 30687}}}", refused: "gateway: {readWrite: {service: {type: NodePort, nodePort: 30687, name: graph}}}", accepted: "gateway: {readWrite: {service: {type: NodePort, nodePort: 30688, name: graph}}}"},
	{said: "service.labels: belong to the operator", refused: "gateway: {read: {service: {labels: {memgraph.dev/cluster: a}}}}", accepted: "gateway: {read: {service: {labels: {app.kubernetes.io/part-of: a}}}}"},
	{said: "service.name: must be the name of a Service", refused: "gateway: {read: {service: {name: 1-graph}}}", accepted: "gateway: {read: {service: {name: graph-1}}}"},
	{said: "spec.gateway.readWrite.service.name: must not be", refused: "gateway: {readWrite: {service: {name: demo-instances}}}", accepted: "gateway: {readWrite: {service: {name: instances}}}"},
	{said: "spec.gateway.read.service.name: must not be", refused: "gateway: {read: {service: {name: demo-instances}}}", accepted: "gateway: {read: {service: {name: demo}}}"},
	{said: "spec.gateway: readWrite.service.name and read.service.name must differ", refused: "gateway: {readWrite: {service: {name: a}}, read: {service: {name: a}}}", accepted: "gateway: {readWrite: {service: {name: a}}, read: {service: {name: b}}}"},
	{said: "spec.gateway: readWrite.service.name and read.service.name must differ", refused: "gateway: {readWrite: {service: {name: demo-gateway-read}}}", accepted: "gateway: {readWrite: {service: {name: demo-gateway}}}"},
	{said: "metrics: each is either an ipBlock", refused: "networkPolicy: {metrics: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}", accepted: "networkPolicy: {metrics: [{namespaceSelector: {}}]}"},
	{said: "clients: each is either an ipBlock", refused: "networkPolicy: {clients: [{}]}", accepted: "networkPolicy: {clients: [{podSelector: {}}]}"},
	{said: "syncReplicas: must be 0 or unset with mode Async", refused: "replication: {mode: Async, syncReplicas: 1}", accepted: "replication: {mode: Async, syncReplicas: 0}"},
	{said: "storageClassName: cannot be changed", before: "storage: {storageClassName: a}", refused: "storage: {storageClassName: b}", accepted: "storage: {storageClassName: a}"},
	{said: "storageClassName: cannot be changed", before: "{}", refused: "storage: {storageClassName: b}", accepted: "{}"},
	{said: "size: must be greater than 0", refused: "storage: {size: 0Gi}", accepted: "storage: {size: 1Gi}"},
	{said: "spec.storage.size: cannot be lowered", before: "storage: {size: 2Gi}", status: "volumeSize: 2Gi", refused: "storage: {size: 2047Mi}", accepted: "storage: {size: 2048Mi}"},
	{said: "spec.storage.size: cannot be lowered", before: "storage: {size: 2Gi}", status: "volumeSize: 2Gi", refused: "storage: {size: 2G}", accepted: "storage: {size: 10Gi}"},
	{said: "spec.storage.size: cannot be lowered", before: "storage: {size: 100Ti}", status: "volumeSize: 10Gi", refused: "storage: {size: 9Gi}", accepted: "storage: {size: 10Gi}"},
	{said: "spec.storage.size: cannot be lowered", before: "storage: {size: 100Ti}", status: "volumeSize: \"10737418240\"", refused: "storage: {size: 10G}", accepted: "storage: {size: 20Gi}"},
	// Volumes that are larger than the spec asks keep nobody from anything else.
	{said: "spec.storage.size: cannot be lowered", before: "storage: {size: 2Gi}", status: "volumeSize: 10Gi", refused: "storage: {size: 1Gi}", accepted: "{replicas: 5, storage: {size: 2Gi}}"},
	{said: "spec.storage.size: cannot be lowered", before: "storage: {size: 2Gi}", status: "volumeSize: 10Gi", refused: "storage: {size: 1Gi}", accepted: "storage: {size: 3Gi}"},
	// Nothing is known of volumes.
	{said: "spec.storage.size: cannot be lowered", before: "storage: {size: 100Ti}", accepted: "storage: {size: 1Gi}"},
	{said: "spec.storage.size: cannot be lowered", before: "storage: {size: 100Ti}", status: "phase: Pending", accepted: "storage: {size: 1Gi}"},
	{said: "storage.emptyDir: needs replicas 2 or more", refused: "{replicas: 1, storage: {emptyDir: {}}}", accepted: "{replicas: 2, storage: {emptyDir: {}}}"},
	{said: "replication.electableInstances: must be 2 or more with storage.emptyDir", refused: "{replication: {mode: Async, electableInstances: 1}, storage: {emptyDir: {}}}", accepted: "{replication: {mode: Async, electableInstances: 2}, storage: {emptyDir: {}}}"},
	{said: "emptyDir: cannot be added or taken away", before: "{}", refused: "storage: {emptyDir: {}}", accepted: "storage: {size: 10Gi}"},
	{said: "emptyDir: cannot be added or taken away", before: "storage: {emptyDir: {}}", refused: "{}", accepted: "storage: {emptyDir: {sizeLimit: 1Gi}}"},
	{said: "hibernated: cannot be true with storage.emptyDir", refused: "{hibernated: true, storage: {emptyDir: {}}}", accepted: "{hibernated: true, paused: true, storage: {retentionPolicy: {whenScaled: Delete}}}"},
	{said: "sizeLimit: must be greater than 0", refused: "storage: {emptyDir: {sizeLimit: 0Gi}}", accepted: "storage: {emptyDir: {sizeLimit: 1Gi}}"},
	{said: "storageClassName: is of volume claims", refused: "storage: {storageClassName: a, emptyDir: {}}", accepted: "storage: {emptyDir: {}}"},
	{said: "size: is of volume claims", refused: "storage: {size: 20Gi, emptyDir: {}}", accepted: "storage: {emptyDir: {sizeLimit: 20Gi}}"},
	{said: "retentionPolicy: is of volume claims", refused: "storage: {retentionPolicy: {whenScaled: Delete}, emptyDir: {}}", accepted: "storage: {retentionPolicy: {whenScaled: Delete}}"},
	{said: "podTemplate.container.volumeMounts: each must have the name", refused: fmt.Sprintf(mounted, "others", "/modules"), accepted: fmt.Sprintf(mounted, "modules", "/modules")},
	{said: "podTemplate.container.volumeMounts: a mountPath must not", refused: fmt.Sprintf(mounted, "modules", "/var/lib/memgraph/mg_data"), accepted: fmt.Sprintf(mounted, "modules", "/var/lib/modules")},
	{said: "podTemplate.container.volumeMounts: a mountPath must not", refused: fmt.Sprintf(mounted, "modules", "/usr/lib"), accepted: fmt.Sprintf(mounted, "modules", "/usr/lib/memgraph/query_modules")},
	{said: "podTemplate.container.env: variables that begin with MEMGRAPH_", refused: fmt.Sprintf(variable, "MEMGRAPH_USER, value: a"), accepted: fmt.Sprintf(variable, "AWS_REGION, value: a")},
	{said: "env: each has either a value", refused: fmt.Sprintf(variable, "A"), accepted: fmt.Sprintf(variable, "A, value: \"\"")},
	{said: "env: each has either a value", refused: fmt.Sprintf(variable, "A, value: a, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}"), accepted: fmt.Sprintf(variable, "A, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}")},
	{said: "env: valueFrom has exactly one", refused: fmt.Sprintf(variable, "A, valueFrom: {}"), accepted: fmt.Sprintf(variable, "A, valueFrom: {secretKeyRef: {name: a, key: b}}")},
	{said: "podTemplate.container.envFrom: prefix must be no beginning", refused: "podTemplate: {container: {envFrom: [{prefix: MEM, secretRef: {name: a}}]}}", accepted: "podTemplate: {container: {envFrom: [{prefix: AWS_, secretRef: {name: a}}]}}"},
	{said: "podTemplate.container.envFrom: each has either", refused: "podTemplate: {container: {envFrom: [{prefix: A_}]}}", accepted: "podTemplate: {container: {envFrom: [{prefix: A_, configMapRef: {name: a}}]}}"},
	{said: "podTemplate.metadata.labels: belong to the operator", refused: "podTemplate: {metadata: {labels: {app.kubernetes.io/name: a}}}", accepted: "podTemplate: {metadata: {labels: {app.kubernetes.io/part-of: a}}}"},
	{said: "podTemplate.metadata.annotations: belong to the operator", refused: "podTemplate: {metadata: {annotations: {memgraph.dev/reset: a}}}", accepted: "podTemplate: {metadata: {annotations: {kubectl.kubernetes.io/restartedAt: a b}}}"},
	{said: "inheritedMetadata.labels: belong to the operator", refused: "inheritedMetadata: {labels: {memgraph.dev/cluster: a}}", accepted: "inheritedMetadata: {labels: {app.kubernetes.io/part-of: a}}"},
	{said: "inheritedMetadata.annotations: belong to the operator", refused: "inheritedMetadata: {annotations: {deployment.kubernetes.io/revision: \"1\"}}", accepted: "inheritedMetadata: {annotations: {example.com/owner: a b}}"},
	{said: "podTemplate.spec.volumes: each has exactly one", refused: "podTemplate: {spec: {volumes: [{name: a}]}}", accepted: "podTemplate: {spec: {volumes: [{name: a, image: {reference: b}}]}}"},
	{said: "podTemplate.spec.volumes: the names of the operator's own", refused: "podTemplate: {spec: {volumes: [{name: data, emptyDir: {}}]}}", accepted: "podTemplate: {spec: {volumes: [{name: data-2, emptyDir: {}}]}}"},
	{said: "name: the names of the operator's own containers", refused: fmt.Sprintf(beside, "memgraph"), accepted: fmt.Sprintf(beside, "memgraph-2")},
	{said: "name: the names of the operator's own containers", refused: fmt.Sprintf(before, "instance-init"), accepted: fmt.Sprintf(before, "init")},
	{said: "podTemplate.spec.containers: one of initContainers has", refused: "podTemplate: {spec: {initContainers: [{name: a, image: a}], containers: [{name: a, image: a}]}}", accepted: "podTemplate: {spec: {initContainers: [{name: a, image: a}], containers: [{name: b, image: a}]}}"},
	{said: "podTemplate.spec.containers: volumeMounts: each must", refused: fmt.Sprintf(beside, "a, volumeMounts: [{name: api-access, mountPath: /a, readOnly: true}]"), accepted: fmt.Sprintf(beside, "a, volumeMounts: [{name: spool, mountPath: /a}]")},
	{said: "podTemplate.spec.containers: volumeMounts: each must", refused: fmt.Sprintf(beside, "a, volumeMounts: [{name: bolt-tls, mountPath: /a, readOnly: true}]"), accepted: fmt.Sprintf(beside, "a, volumeMounts: [{name: data, mountPath: /a, readOnly: true}]")},
	{said: "podTemplate.spec.initContainers: volumeMounts: each must", refused: fmt.Sprintf(before, "a, volumeMounts: [{name: start-gate, mountPath: /a, readOnly: true}]"), accepted: fmt.Sprintf(before, "a, volumeMounts: [{name: data, mountPath: /a, readOnly: true}]")},
	{said: "volumeMounts: data, the volume of Memgraph's data", refused: fmt.Sprintf(beside, "a, volumeMounts: [{name: data, mountPath: /a}]"), accepted: fmt.Sprintf(beside, "a, volumeMounts: [{name: data, mountPath: /a, readOnly: true}]")},
	{said: "volumeMounts: data, the volume of Memgraph's data", refused: fmt.Sprintf(before, "a, volumeMounts: [{name: data, mountPath: /a, readOnly: true, subPath: mg_data}]"), accepted: fmt.Sprintf(before, "a, volumeMounts: [{name: spool, mountPath: /a, subPath: mg_data}]")},
	{said: "ports: 7687 and 10000 belong to Memgraph", refused: fmt.Sprintf(beside, "a, ports: [{containerPort: 10000}]"), accepted: fmt.Sprintf(beside, "a, ports: [{containerPort: 10001}]")},
	{said: "podTemplate.spec.initContainers: probes and lifecycle", refused: fmt.Sprintf(before, "a, startupProbe: {tcpSocket: {port: 1}}"), accepted: fmt.Sprintf(before, "a, restartPolicy: Always, startupProbe: {tcpSocket: {port: 1}}")},
	{said: "podTemplate.spec.containers: restartPolicy is of", refused: fmt.Sprintf(beside, "a, restartPolicy: Always"), accepted: fmt.Sprintf(beside, "a, lifecycle: {preStop: {sleep: {seconds: 1}}}")},
	{said: "gateway.podTemplate.container.env: of a gateway only", refused: "gateway: {podTemplate: {container: {env: [{name: POD_UID, value: a}]}}}", accepted: "gateway: {podTemplate: {container: {env: [{name: OTEL_EXPORTER_OTLP_HEADERS, valueFrom: {secretKeyRef: {name: a, key: b}}}]}}}"},
}

// whole is a cluster with this spec, as it is stored: with the defaults.
func (c checked) whole(t *testing.T, name, spec string) object {
	t.Helper()
	text, err := json.Marshal(object{
		"apiVersion": "memgraph.dev/v1alpha1",
		"kind":       "MemgraphCluster",
		"metadata":   object{"name": name},
		"spec":       parse(t, spec),
	})
	if err != nil {
		t.Fatal(err)
	}
	cluster := object{}
	if err := kubernetesjson.Unmarshal(text, &cluster); err != nil {
		t.Fatal(err)
	}
	defaulting.Default(cluster, c.schema)
	return cluster
}

func TestEachRuleRefusesWhatItIsAboutAndNoMore(t *testing.T) {
	valid := newClusters(t)
	said := func(name, before, status, spec string) string {
		cluster := valid.whole(t, name, spec)
		errs := valid.errors(t, cluster)
		if before != "" {
			old := valid.whole(t, name, before)
			if status != "" {
				cluster["status"], old["status"] = parse(t, status), parse(t, status)
			}
			changed, _ := valid.rules.Validate(t.Context(), nil, valid.schema, cluster, old, celconfig.RuntimeCELCostBudget)
			errs = append(errs, changed...)
		}
		var all []string
		for _, err := range errs {
			all = append(all, err.Error())
		}
		return strings.Join(all, "\n")
	}
	judgeRules(t, said)
}

// judgeRules tries all cases with somebody who says what is wrong with a spec, or with a change.
func judgeRules(t *testing.T, said func(name, before, status, spec string) string) {
	t.Helper()
	for _, test := range ruleCases {
		name := test.name
		if name == "" {
			name = "demo"
		}
		if test.refused != "" {
			if found := said(name, test.before, test.status, test.refused); !strings.Contains(found, test.said) {
				t.Errorf("%s is not refused by %q: %s", test.refused, test.said, found)
			}
		}
		if test.accepted == "" {
			test.accepted = "{}"
		}
		if found := said("demo", test.before, test.status, test.accepted); found != "" {
			t.Errorf("%s is refused: %s", test.accepted, found)
		}
	}
}

// fields calls `each` for a schema and all that is below it. A list's items and a map's values have the field's own path.
func fields(path string, schema *apiextensionsv1.JSONSchemaProps, each func(string, *apiextensionsv1.JSONSchemaProps)) {
	each(path, schema)
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		below := schema.Properties[name]
		fields(strings.TrimPrefix(path+"."+name, "."), &below, each)
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		fields(path, schema.Items.Schema, each)
	}
	if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil {
		fields(path, schema.AdditionalProperties.Schema, each)
	}
}

func TestEachRuleOfTheDefinitionHasACase(t *testing.T) {
	rules := 0
	fields("", readDefinition(t).Spec.Versions[0].Schema.OpenAPIV3Schema, func(path string, schema *apiextensionsv1.JSONSchemaProps) {
		for _, rule := range schema.XValidations {
			rules++
			about := func(test ruleCase) bool { return strings.HasPrefix(rule.Message, test.said) }
			if !slices.ContainsFunc(ruleCases, about) {
				t.Errorf("%s: no case for the rule %q", path, rule.Message)
			}
		}
	})
	if rules < 30 {
		t.Errorf("only %d rules were found", rules)
	}
}

// Numbers have bounds and words are of a list, or they may be anything.
func TestWhatIsOutOfBoundsIsRefused(t *testing.T) {
	valid := newClusters(t)
	// What must stand beside a field for it to be judged at all.
	beside := map[string]string{"gateway.connectionRateLimit.burst": "gateway: {connectionRateLimit: {perSecond: 5}}"}
	tried := 0
	try := func(path string, value any) {
		tried++
		spec := object{}
		if context, needed := beside[path]; needed {
			spec = parse(t, context)
		}
		below := spec
		steps := strings.Split(path, ".")
		for _, step := range steps[:len(steps)-1] {
			if _, there := below[step]; !there {
				below[step] = object{}
			}
			below = below[step].(object)
		}
		below[steps[len(steps)-1]] = value
		text, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range valid.errors(t, valid.whole(t, "demo", string(text))) {
			if err.Field == "spec."+path {
				return
			}
		}
		t.Errorf("%s: %v is accepted", path, value)
	}
	spec := readDefinition(t).Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	fields("", &spec, func(path string, schema *apiextensionsv1.JSONSchemaProps) {
		// Ports of containers, which are items of a list, have a test of their own.
		if strings.HasPrefix(path, "podTemplate.spec.") && strings.HasSuffix(path, ".port") {
			return
		}
		if schema.Minimum != nil {
			try(path, *schema.Minimum-1)
		}
		if schema.Maximum != nil {
			try(path, *schema.Maximum+1)
		}
		if len(schema.Enum) > 0 {
			try(path, "Nonsense")
		}
		if schema.Type == "string" && schema.Pattern != "" && !strings.Contains(path, "odTemplate") {
			try(path, "a b")
		}
	})
	if tried < 30 {
		t.Errorf("only %d values were tried", tried)
	}
}

// A number that the API server takes for a port and nobody can read would keep every cluster from being read.
func TestPortsOfProbesAndHooksAreBounded(t *testing.T) {
	valid := newClusters(t)
	handlers := []string{
		"readinessProbe: {httpGet: {port: %v}}", "livenessProbe: {tcpSocket: {port: %v}}", "startupProbe: {tcpSocket: {port: %v}}",
		"lifecycle: {postStart: {httpGet: {port: %v}}}", "lifecycle: {preStop: {tcpSocket: {port: %v}}}",
	}
	for _, handler := range handlers {
		for port, accepted := range map[string]bool{"8080": true, "metrics": true, "0": false, "99999999999": false} {
			spec := fmt.Sprintf("podTemplate: {spec: {containers: [{name: a, image: a, "+handler+"}]}}", port)
			if errs := valid.errors(t, valid.whole(t, "demo", spec)); (len(errs) == 0) != accepted {
				t.Errorf("%s: %v", spec, errs)
			}
		}
	}
}

// defaultsInItems names the fields below a list that have a default. A tool that compares what it sends with what is there sees one of
// these as a difference which it can neither name nor leave out, since an item of a list has no path.
func defaultsInItems(path string, inItem bool, schema *apiextensionsv1.JSONSchemaProps) []string {
	var found []string
	if inItem && schema.Default != nil {
		found = append(found, path)
	}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		below := schema.Properties[name]
		found = append(found, defaultsInItems(path+"."+name, inItem, &below)...)
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		found = append(found, defaultsInItems(path+"[]", true, schema.Items.Schema)...)
	}
	if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil {
		found = append(found, defaultsInItems(path+"{}", inItem, schema.AdditionalProperties.Schema)...)
	}
	return found
}

func TestNoItemOfAListHasDefaults(t *testing.T) {
	spec := readDefinition(t).Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	if found := defaultsInItems("spec", false, &spec); len(found) > 0 {
		t.Errorf("there are defaults at %v", found)
	}
	// The walk does find one.
	with := apiextensionsv1.JSONSchemaProps{Default: &apiextensionsv1.JSON{Raw: []byte("1")}}
	item := apiextensionsv1.JSONSchemaProps{Properties: map[string]apiextensionsv1.JSONSchemaProps{"a": with}}
	list := apiextensionsv1.JSONSchemaProps{Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &item}}
	if found := defaultsInItems("list", false, &list); !slices.Equal(found, []string{"list[].a"}) {
		t.Errorf("the walk finds %v", found)
	}
}

// `kubectl apply` without --server-side keeps what it has sent in an annotation. All annotations of an object together must be smaller
// than the API server's bound; a quarter of it is left for what is still to come.
func TestTheDefinitionIsSmallEnoughForClientSideApply(t *testing.T) {
	text, err := os.ReadFile(definition)
	if err != nil {
		t.Fatal(err)
	}
	sent, err := sigsyaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	if bound := validation.TotalAnnotationSizeLimitB / 4 * 3; len(sent) > bound {
		t.Errorf("it has %d bytes, and is to have at most %d", len(sent), bound)
	}
}

// What the API server says of the definition itself: its form, and what its rules may cost.
func TestTheAPIServerTakesTheDefinition(t *testing.T) {
	given := readDefinition(t)
	apiextensionsv1.SetDefaults_CustomResourceDefinition(given)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&given.Spec)
	definition := &apiextensions.CustomResourceDefinition{}
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(given, definition, nil); err != nil {
		t.Fatal(err)
	}
	definition.Status.StoredVersions = []string{"v1alpha1"}
	for _, err := range definitions.ValidateCustomResourceDefinition(t.Context(), definition) {
		t.Error(err)
	}
}
