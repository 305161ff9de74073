// Package alerts evaluates the alerting rules of the Helm chart, by Prometheus' own code, on made-up courses of the metrics.
package alerts

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
)

const file = "../../charts/memgraph-operator/files/alerts.yaml"

// Each step of a course is so long.
const step = 15 * time.Second

// A course of metrics, in the notation of promtool's tests, one value a step, and which alerts fire when.
type course struct {
	name   string
	series string
	// By the number of the step: the alerts that fire then, with the labels that tell them apart. Between two entries that
	// follow each other nothing is checked.
	fire map[int][]string
}

var courses = []course{
	{
		"a cluster that works fires nothing",
		`memgraph_cluster_ready{namespace="g",cluster="d"} 1x80
		memgraph_cluster_unavailable{namespace="g",cluster="d"} 0x80
		memgraph_cluster_condition{namespace="g",cluster="d",condition="Stalled"} 0x80
		memgraph_cluster_condition{namespace="g",cluster="d",condition="Durable"} 1x80
		memgraph_cluster_replicas{namespace="g",cluster="d"} 3x80
		memgraph_cluster_ready_replicas{namespace="g",cluster="d"} 3x80
		memgraph_instance_role{namespace="g",cluster="d",pod="d-0",role="main"} 1x80
		memgraph_instance_data_status{namespace="g",cluster="d",pod="d-1",status="ready"} 1x80
		memgraph_instance_lag_transactions{namespace="g",cluster="d",pod="d-1"} 9x80
		memgraph_operator_leader{namespace="memgraph-operator-system",pod="o-0"} 0x80
		memgraph_operator_leader{namespace="memgraph-operator-system",pod="o-1"} 1x80
		memgraph_gateway_sessions{namespace="g",pod="w",port="read_write"} 10x80
		memgraph_gateway_max_sessions{namespace="g",pod="w",port="read_write"} 100x80`,
		map[int][]string{0: nil, 20: nil, 80: nil},
	},
	{
		"a failover of a few seconds fires nothing, one that does not end does",
		`memgraph_cluster_unavailable{namespace="g",cluster="short"} 0 1 0 0 0
		memgraph_cluster_unavailable{namespace="g",cluster="long"} 0 1 1 1 0
		memgraph_operator_leader{namespace="memgraph-operator-system"} 1x5`,
		map[int][]string{1: nil, 2: {"MemgraphWritesUnavailable long"}, 3: {"MemgraphWritesUnavailable long"}, 4: nil},
	},
	{
		"a change of leader while clients cannot write does not end the alert",
		`memgraph_cluster_unavailable{namespace="g",cluster="d",pod="o-0"} 1 1 1 _ _ _
		memgraph_cluster_unavailable{namespace="g",cluster="d",pod="o-1"} _ _ 1 1 1 1
		memgraph_operator_leader{namespace="memgraph-operator-system"} 1x6`,
		map[int][]string{2: {"MemgraphWritesUnavailable d"}, 4: {"MemgraphWritesUnavailable d"}},
	},
	{
		"a cluster that is not set up for long is told of by itself, unless it goes, sleeps, or has been set up",
		`memgraph_cluster_ready{namespace="g",cluster="new"} 0x70
		memgraph_cluster_unavailable{namespace="g",cluster="new"} 0x70
		memgraph_cluster_ready{namespace="g",cluster="slow"} 0x50 1x20
		memgraph_cluster_unavailable{namespace="g",cluster="slow"} 0x70
		memgraph_cluster_ready{namespace="g",cluster="going"} 0x70
		memgraph_cluster_unavailable{namespace="g",cluster="going"} 0x70
		memgraph_cluster_condition{namespace="g",cluster="going",condition="Ready",reason="Terminating"} 0x70
		memgraph_cluster_ready{namespace="g",cluster="lost"} 0x70
		memgraph_cluster_unavailable{namespace="g",cluster="lost"} 1x70
		memgraph_operator_leader{namespace="memgraph-operator-system"} 1x70`,
		map[int][]string{10: {"MemgraphWritesUnavailable lost"}, 55: {"MemgraphWritesUnavailable lost"},
			65: {"MemgraphNotSetUp new", "MemgraphWritesUnavailable lost"}},
	},
	{
		"what keeps clients from writing until a human decides",
		`memgraph_cluster_condition{namespace="g",cluster="d",condition="Stalled",reason="AsExpected"} 0 _x10
		memgraph_cluster_condition{namespace="g",cluster="d",condition="Stalled",reason="NoCandidate"} _ 1x10
		memgraph_cluster_ready{namespace="g",cluster="d"} 1 0x10
		memgraph_cluster_unavailable{namespace="g",cluster="d"} 0 1x10
		memgraph_operator_leader{namespace="memgraph-operator-system"} 1x10`,
		map[int][]string{2: {"MemgraphWritesUnavailable d"}, 4: {"MemgraphStalled d", "MemgraphWritesUnavailable d"},
			10: {"MemgraphStalled d", "MemgraphWritesUnavailable d"}},
	},
	{
		"what waits for a human while clients are served: only a definition of another release keeps MAIN from being replaced",
		`memgraph_cluster_condition{namespace="g",cluster="license",condition="Stalled",reason="InvalidLicense"} 0 1x20
		memgraph_cluster_ready{namespace="g",cluster="license"} 1x20
		memgraph_cluster_condition{namespace="g",cluster="definition",condition="Stalled",reason="UnfitDefinition"} 0 1x20
		memgraph_cluster_ready{namespace="g",cluster="definition"} 1x20
		memgraph_operator_leader{namespace="memgraph-operator-system"} 1x20`,
		map[int][]string{2: nil, 4: {"MemgraphStalled definition"}, 8: {"MemgraphActionNeeded license", "MemgraphStalled definition"}},
	},
	{
		"what a cluster that sleeps waits for keeps nobody from writing who is to, and what keeps it from waking up does",
		`memgraph_cluster_condition{namespace="g",cluster="d",condition="Stalled",reason="InvalidSpec"} 0 1x40
		memgraph_cluster_ready{namespace="g",cluster="d"} 0x40
		memgraph_cluster_hibernated{namespace="g",cluster="d"} 1x40
		memgraph_cluster_condition{namespace="g",cluster="d",condition="Hibernated"} 1x20 0x20
		memgraph_operator_leader{namespace="memgraph-operator-system"} 1x40`,
		map[int][]string{2: nil, 10: {"MemgraphActionNeeded d"}, 30: {"MemgraphStalled d"}},
	},
	{
		"a second MAIN that is not demoted, and a replica that has branched off",
		`memgraph_instance_role{namespace="g",cluster="d",pod="d-2",role="deposed"} _ 1x20
		memgraph_instance_data_status{namespace="g",cluster="d",pod="d-1",status="diverged"} _ 1x20
		memgraph_operator_leader{namespace="memgraph-operator-system"} 1x20`,
		map[int][]string{1: nil, 3: {"MemgraphSecondMain d"}, 10: {"MemgraphReplicaDiverged d-1", "MemgraphSecondMain d"}},
	},
	{
		"no copy is in sync for long, and an instance is away for longer",
		`memgraph_cluster_condition{namespace="g",cluster="d",condition="Durable",reason="AsExpected"} 1 _x60
		memgraph_cluster_condition{namespace="g",cluster="d",condition="Durable",reason="NoInSyncReplica"} _ 0x60
		memgraph_cluster_condition{namespace="g",cluster="alone",condition="Durable",reason="NotRequired"} 0x60
		memgraph_cluster_replicas{namespace="g",cluster="d"} 3x60
		memgraph_cluster_ready_replicas{namespace="g",cluster="d"} 3 2x60
		memgraph_operator_leader{namespace="memgraph-operator-system"} 1x60`,
		map[int][]string{20: nil, 22: {"MemgraphNotDurable d"}, 42: {"MemgraphNotDurable d", "MemgraphReplicaMissing d"}},
	},
	{
		"a cluster that sleeps serves nobody, and one that does not wake up does not either",
		`memgraph_cluster_ready{namespace="g",cluster="d"} 1 0x120
		memgraph_cluster_replicas{namespace="g",cluster="d"} 3x120
		memgraph_cluster_ready_replicas{namespace="g",cluster="d"} 3 0x120
		memgraph_cluster_condition{namespace="g",cluster="d",condition="Durable"} 1 0x120
		memgraph_cluster_hibernated{namespace="g",cluster="d"} 0 1x120
		memgraph_cluster_condition{namespace="g",cluster="d",condition="Hibernated"} 0 0 0 1x45 0x72
		memgraph_operator_leader{namespace="memgraph-operator-system"} 1x120`,
		map[int][]string{2: nil, 46: nil, 100: nil, 115: {"MemgraphHibernationStuck d"}},
	},
	{
		"a replica far behind",
		`memgraph_instance_lag_transactions{namespace="g",cluster="d",pod="d-1"} 20000x40
		memgraph_operator_leader{namespace="memgraph-operator-system"} 1x40`,
		map[int][]string{10: nil, 30: {"MemgraphReplicaLagging d-1"}},
	},
	{
		"memory: one counts much against its limit, one has more than it counts, one had much for a moment, and one has no limit",
		`memgraph_instance_memory_tracked_bytes{namespace="g",cluster="d",pod="d-0"} 950x60
		memgraph_instance_memory_bytes{namespace="g",cluster="d",pod="d-0"} 980x60
		memgraph_instance_memory_limit_bytes{namespace="g",cluster="d",pod="d-0"} 1000x60
		memgraph_instance_memory_tracked_bytes{namespace="g",cluster="d",pod="d-1"} 500x60
		memgraph_instance_memory_bytes{namespace="g",cluster="d",pod="d-1"} 1050x60
		memgraph_instance_memory_limit_bytes{namespace="g",cluster="d",pod="d-1"} 1000x60
		memgraph_instance_memory_tracked_bytes{namespace="g",cluster="d",pod="d-2"} 950x15 500x45
		memgraph_instance_memory_bytes{namespace="g",cluster="d",pod="d-2"} 980x15 900x45
		memgraph_instance_memory_limit_bytes{namespace="g",cluster="d",pod="d-2"} 1000x60
		memgraph_instance_memory_tracked_bytes{namespace="g",cluster="e",pod="e-0"} 9999x60
		memgraph_instance_memory_bytes{namespace="g",cluster="e",pod="e-0"} 9999x60
		memgraph_operator_leader{namespace="memgraph-operator-system"} 1x60`,
		map[int][]string{10: nil, 30: {"MemgraphMemoryNearlyFull d-0", "MemgraphMemoryNearlyFull d-1"}},
	},
	{
		"volumes: one of an instance is nearly full, another one is not, and those of others are nobody's business",
		`kubelet_volume_stats_available_bytes{namespace="g",persistentvolumeclaim="data-d-0",node="a"} 10x60
		kubelet_volume_stats_capacity_bytes{namespace="g",persistentvolumeclaim="data-d-0",node="a"} 100x60
		kubelet_volume_stats_available_bytes{namespace="g",persistentvolumeclaim="data-d-1",node="b"} 20x60
		kubelet_volume_stats_capacity_bytes{namespace="g",persistentvolumeclaim="data-d-1",node="b"} 100x60
		kubelet_volume_stats_available_bytes{namespace="g",persistentvolumeclaim="data-e-0",node="b"} 0x60
		kubelet_volume_stats_capacity_bytes{namespace="g",persistentvolumeclaim="data-e-0",node="b"} 100x60
		kubelet_volume_stats_available_bytes{namespace="h",persistentvolumeclaim="data-d-0",node="b"} 0x60
		kubelet_volume_stats_capacity_bytes{namespace="h",persistentvolumeclaim="data-d-0",node="b"} 100x60
		memgraph_instance_up{namespace="g",cluster="d",pod="d-0"} 0x60
		memgraph_instance_up{namespace="g",cluster="d",pod="d-1"} 1x60
		memgraph_operator_leader{namespace="memgraph-operator-system"} 1x60`,
		map[int][]string{10: nil, 30: {"MemgraphVolumeNearlyFull d-0"}},
	},
	{
		"certificates of instances: one is good, one ends tomorrow, one has ended",
		`memgraph_cluster_certificate_expiry_timestamp_seconds{namespace="g",cluster="good"} 2592000x60
		memgraph_cluster_certificate_expiry_timestamp_seconds{namespace="g",cluster="ending"} 86400x60
		memgraph_cluster_certificate_expiry_timestamp_seconds{namespace="g",cluster="ended"} 0x60
		memgraph_operator_leader{namespace="memgraph-operator-system"} 1x60`,
		map[int][]string{30: nil, 50: {"MemgraphInstanceCertificate ended", "MemgraphInstanceCertificate ending"}},
	},
	{
		"requests to the API server that wait for long on and on",
		`memgraph_operator_api_request_wait_seconds_sum{pod="o-0",lane="ordinary"} 0+9000x80
		memgraph_operator_api_request_wait_seconds_count{pod="o-0",lane="ordinary"} 0+4500x80
		memgraph_operator_api_request_wait_seconds_sum{pod="o-0",lane="urgent"} 0+1x80
		memgraph_operator_api_request_wait_seconds_count{pod="o-0",lane="urgent"} 0+10x80
		memgraph_operator_leader{namespace="memgraph-operator-system"} 1x80`,
		map[int][]string{30: nil, 60: {"MemgraphOperatorThrottled o-0"}},
	},
	{
		"four failovers in an hour, while switchovers are as many as one likes",
		`memgraph_cluster_operations_total{namespace="g",cluster="d",kind="Failover"} 0 0x20 1x20 2x20 3x20 4x20
		memgraph_cluster_operations_total{namespace="g",cluster="e",kind="Switchover"} 0+1x110
		memgraph_operator_leader{namespace="memgraph-operator-system"} 1x110`,
		map[int][]string{70: nil, 100: {"MemgraphFailoversFrequent d"}},
	},
	{
		"nobody leads, or nobody is there",
		`memgraph_operator_leader{namespace="memgraph-operator-system",pod="o-0"} 1 0x10
		memgraph_operator_leader{namespace="memgraph-operator-system",pod="o-1"} 0x10`,
		map[int][]string{1: nil, 6: {"MemgraphOperatorWithoutLeader memgraph-operator-system"}},
	},
	{
		"there is no operator at all",
		`up 1x10`,
		map[int][]string{5: {"MemgraphOperatorWithoutLeader memgraph-operator-system"}},
	},
	{
		"of several operators one has no leader, or is none of this alert's business any more",
		`memgraph_operator_leader{namespace="memgraph-operator-system",pod="o-0"} 1x10
		memgraph_operator_leader{namespace="shop-operator",pod="o-0"} 1 0 0 0 0 0 0 _x4
		memgraph_operator_leader{namespace="shop-operator",pod="o-1"} 0 0 0 0 0 0 0 _x4`,
		map[int][]string{1: nil, 6: {"MemgraphOperatorWithoutLeader shop-operator"}},
	},
	{
		"clusters that another installation looks after, for a while and on and on",
		`memgraph_operator_clusters_of_others{namespace="x",pod="o-0"} 2x80
		memgraph_operator_clusters_of_others{namespace="y",pod="o-0"} 1x10 0x70
		memgraph_operator_clusters_of_others{namespace="z",pod="o-0"} 0x80
		memgraph_operator_leader{namespace="memgraph-operator-system"} 1x80`,
		map[int][]string{14: nil, 60: {"MemgraphOperatorClustersOfOthers x"}},
	},
	{
		"reconciliations that fail on and on, while conflicts are nothing",
		`memgraph_operator_reconcile_errors_total{reason="step"} 0+6x80
		memgraph_operator_reconcile_errors_total{reason="conflict"} 0+6x80
		memgraph_operator_leader{namespace="memgraph-operator-system"} 1x80`,
		map[int][]string{20: nil, 60: {"MemgraphOperatorFailing step"}},
	},
	{
		"a gateway that is full refuses, one without descriptors accepts nobody, and clients that go by themselves are nothing",
		`memgraph_gateway_sessions{namespace="g",pod="w",port="read_write"} 100x60
		memgraph_gateway_max_sessions{namespace="g",pod="w",port="read_write"} 100x60
		memgraph_gateway_refusals_total{namespace="g",pod="w",port="read_write",reason="too_many"} 0+9x60
		memgraph_gateway_refusals_total{namespace="g",pod="w",port="read_write",reason="client_gone"} 0+9x60
		memgraph_gateway_failed_accepts_total{namespace="g",pod="v",port="read_write"} 0+300x60
		memgraph_gateway_failed_accepts_total{namespace="g",pod="w",port="read_write"} 0x60
		memgraph_operator_leader{namespace="memgraph-operator-system"} 1x60`,
		map[int][]string{10: nil, 50: {"MemgraphGatewayFull w", "MemgraphGatewayRefusing v", "MemgraphGatewayRefusing w"}},
	},
	{
		"certificates of gateways: one is good, one ends tomorrow, one cannot be replaced",
		`memgraph_gateway_certificate_rejected{namespace="g",pod="good"} 0x60
		memgraph_gateway_certificate_expiry_timestamp_seconds{namespace="g",pod="good"} 2592000x60
		memgraph_gateway_certificate_rejected{namespace="g",pod="ending"} 0x60
		memgraph_gateway_certificate_expiry_timestamp_seconds{namespace="g",pod="ending"} 86400x60
		memgraph_gateway_certificate_rejected{namespace="g",pod="kept"} 1x60
		memgraph_gateway_certificate_expiry_timestamp_seconds{namespace="g",pod="kept"} 2592000x60
		memgraph_operator_leader{namespace="memgraph-operator-system"} 1x60`,
		map[int][]string{50: {"MemgraphGatewayCertificate ending", "MemgraphGatewayCertificate kept"}},
	},
}

func TestAlertsFireWhenTheyShould(t *testing.T) {
	fired := map[string]bool{}
	for _, course := range courses {
		t.Run(course.name, func(t *testing.T) {
			play(t, course, fired)
		})
	}
	for _, alert := range names(t) {
		if !fired[alert] {
			t.Errorf("no course has %s fire", alert)
		}
	}
}

func play(t *testing.T, course course, fired map[string]bool) {
	suite, err := promqltest.NewLazyLoader(loading(course.series), promqltest.LazyLoaderOpts{
		EnableAtModifier:     true,
		EnableNegativeOffset: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer suite.Close()
	suite.SubqueryInterval = step
	groups := load(t, rules.ManagerOptions{
		QueryFunc:  rules.EngineQueryFunc(suite.QueryEngine(), suite.Storage()),
		Appendable: suite.Storage(),
	})
	last := 0
	for number := range course.fire {
		last = max(last, number)
	}
	for number := range last + 1 {
		now := time.Unix(0, 0).UTC().Add(time.Duration(number) * step)
		suite.WithSamplesTill(now, func(err error) {
			if err != nil {
				t.Fatal(err)
			}
			for _, group := range groups {
				group.Eval(suite.Context(), now)
			}
		})
		wanted, checked := course.fire[number]
		if !checked {
			continue
		}
		found := firing(t, groups, fired)
		if !slices.Equal(found, wanted) {
			t.Errorf("after %s there fire %q, not %q", time.Duration(number)*step, found, wanted)
		}
	}
}

// loading is what promqltest calls a load command.
func loading(series string) string {
	command := fmt.Sprintf("load %s\n", step)
	for line := range strings.Lines(series) {
		command += "  " + strings.TrimSpace(line) + "\n"
	}
	return command
}

func load(t *testing.T, options rules.ManagerOptions) map[string]*rules.Group {
	options.Context = context.Background()
	options.NotifyFunc = func(context.Context, string, ...*rules.Alert) {}
	options.Logger = slog.New(slog.DiscardHandler)
	groups, errs := rules.NewManager(&options).LoadGroups(step, labels.EmptyLabels(), "", nil, false, file)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return groups
}

// firing lists the alerts that fire, each with the label that tells it from others of its name.
func firing(t *testing.T, groups map[string]*rules.Group, fired map[string]bool) []string {
	var found []string
	for _, group := range groups {
		for _, rule := range group.AlertingRules() {
			if rule.LastError() != nil {
				t.Errorf("%s: %v", rule.Name(), rule.LastError())
			}
			for _, alert := range rule.ActiveAlerts() {
				if alert.State != rules.StateFiring {
					continue
				}
				fired[rule.Name()] = true
				which := ""
				for _, label := range []string{"pod", "cluster", "reason", "namespace"} {
					if which == "" {
						which = alert.Labels.Get(label)
					}
				}
				found = append(found, rule.Name()+" "+which)
				for _, text := range []string{"summary", "description"} {
					if value := alert.Annotations.Get(text); value == "" || strings.Contains(value, "<no value>") {
						t.Errorf("%s: %s is %q", rule.Name(), text, value)
					}
				}
				if severity := alert.Labels.Get("severity"); severity != "critical" && severity != "warning" {
					t.Errorf("%s: severity is %q", rule.Name(), severity)
				}
			}
		}
	}
	slices.Sort(found)
	return found
}

func names(t *testing.T) []string {
	var all []string
	for _, group := range load(t, rules.ManagerOptions{}) {
		for _, rule := range group.AlertingRules() {
			all = append(all, rule.Name())
		}
	}
	return all
}
