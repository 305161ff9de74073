package alerts

import (
	"bufio"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/util/teststorage"
)

// What a test on a real node has read from operator and gateways (e2e/node/tests/node/alerts.rs): a file for each condition that it
// produced, whose first line names the alerts that are to fire. RECORDED in the environment names another folder.
const recorded = "recorded"

// One reading of all targets.
type scrape struct {
	at      time.Time
	samples map[string]sample
}

type sample struct {
	series labels.Labels
	value  float64
}

// Every critical alert has fired on what was read while its condition was there, and none on what was read before.
func TestCriticalAlertsFireOnWhatWasReadOnTheNode(t *testing.T) {
	folder := recorded
	if named := os.Getenv("RECORDED"); named != "" {
		folder = named
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("nothing is recorded in %s: RECORD=1 make node-test TESTS=alerts::", folder)
	}
	fired := map[string]bool{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			wanted, scrapes := read(t, file)
			found := evaluate(t, scrapes)
			for _, alert := range found[0] {
				t.Errorf("%s fires at once", alert)
			}
			last := found[len(found)-1]
			for _, alert := range wanted {
				if !slices.Contains(last, alert) {
					t.Errorf("after %s there fire %q and not %s", scrapes[len(scrapes)-1].at.Sub(scrapes[0].at), last, alert)
				}
			}
			for _, alert := range last {
				fired[alert] = true
			}
			t.Logf("%d readings in %s: %q", len(scrapes), scrapes[len(scrapes)-1].at.Sub(scrapes[0].at), last)
		})
	}
	for _, group := range load(t, rules.ManagerOptions{}) {
		for _, rule := range group.AlertingRules() {
			if rule.Labels().Get("severity") == "critical" && !fired[rule.Name()] {
				t.Errorf("%s has never fired on a node", rule.Name())
			}
		}
	}
}

// read takes a file apart: "alerts NAME...", then for each reading "at MILLISECONDS", for each of its targets "target {LABELS}" with
// the labels that Prometheus adds where a sample has none of its own, and the samples.
func read(t *testing.T, file string) (wanted []string, scrapes []scrape) {
	t.Helper()
	opened, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	var target labels.Labels
	lines := bufio.NewScanner(opened)
	for number := 1; lines.Scan(); number++ {
		line := lines.Text()
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "alerts":
			wanted = strings.Fields(rest)
		case "at":
			millis, err := strconv.ParseInt(rest, 10, 64)
			if err != nil {
				t.Fatalf("%s:%d: %v", file, number, err)
			}
			scrapes = append(scrapes, scrape{time.UnixMilli(millis), map[string]sample{}})
		case "target":
			target = metric(t, file, number, rest)
		default:
			at := strings.LastIndexByte(line, ' ')
			number64, err := strconv.ParseFloat(line[at+1:], 64)
			if err != nil || len(scrapes) == 0 {
				t.Fatalf("%s:%d: %q is no sample: %v", file, number, line, err)
			}
			series := labels.NewBuilder(target)
			metric(t, file, number, line[:at]).Range(func(label labels.Label) { series.Set(label.Name, label.Value) })
			made := series.Labels()
			scrapes[len(scrapes)-1].samples[made.String()] = sample{made, number64}
		}
	}
	if err := lines.Err(); err != nil || len(wanted) == 0 || len(scrapes) < 2 {
		t.Fatalf("%s is no recording: %v", file, err)
	}
	return wanted, scrapes
}

func metric(t *testing.T, file string, number int, text string) labels.Labels {
	t.Helper()
	parsed, err := parser.ParseMetric(text)
	if err != nil {
		t.Fatalf("%s:%d: %v", file, number, err)
	}
	return parsed
}

// evaluate stores reading after reading as Prometheus does, and returns the names of the alerts that fire after each.
func evaluate(t *testing.T, scrapes []scrape) (firing [][]string) {
	t.Helper()
	storage := teststorage.New(t)
	defer storage.Close()
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	groups := load(t, rules.ManagerOptions{
		QueryFunc:  rules.EngineQueryFunc(engine, storage),
		Appendable: storage,
	})
	before := map[string]sample{}
	for _, scrape := range scrapes {
		appender := storage.Appender(t.Context())
		for name, sample := range scrape.samples {
			if _, err := appender.Append(0, sample.series, scrape.at.UnixMilli(), sample.value); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		for name, gone := range before {
			if _, stays := scrape.samples[name]; stays {
				continue
			}
			// What is not read any more has ended: Prometheus does not go on with its last value.
			if _, err := appender.Append(0, gone.series, scrape.at.UnixMilli(), math.Float64frombits(value.StaleNaN)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if err := appender.Commit(); err != nil {
			t.Fatal(err)
		}
		before = scrape.samples
		var now []string
		for _, group := range groups {
			group.Eval(t.Context(), scrape.at)
			for _, rule := range group.AlertingRules() {
				if rule.LastError() != nil {
					t.Errorf("%s: %v", rule.Name(), rule.LastError())
				}
				if rule.State() == rules.StateFiring {
					now = append(now, rule.Name())
				}
			}
		}
		slices.Sort(now)
		firing = append(firing, now)
	}
	return firing
}
