// Package checks holds the checks of the official Go driver against Memgraph: those of e2e/drivers/README.md.
package checks

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neo4j/neo4j-go-driver/v5/neo4j"
	"github.com/neo4j/neo4j-go-driver/v5/neo4j/config"
)

const (
	clientError    = "Memgraph.ClientError.MemgraphError.MemgraphError"
	transientError = "Memgraph.TransientError.MemgraphError.MemgraphError"
)

func environment(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set", name)
	}
	return value
}

func server(t *testing.T) string {
	return "bolt://" + environment(t, "BOLT_HOST") + ":" + environment(t, "BOLT_PORT")
}

func withUsers(t *testing.T) string {
	return "bolt://" + environment(t, "BOLT_HOST") + ":" + environment(t, "BOLT_USERS_PORT")
}

func cut(t *testing.T) string { return "bolt://127.0.0.1:" + environment(t, "BOLT_CUT_PORT") }

func closed(t *testing.T) string { return "bolt://127.0.0.1:" + environment(t, "BOLT_CLOSED_PORT") }

func connect(t *testing.T, uri string, auth neo4j.AuthToken, configurers ...func(*config.Config)) neo4j.DriverWithContext {
	t.Helper()
	driver := must(neo4j.NewDriverWithContext(uri, auth, configurers...))(t)
	t.Cleanup(func() { _ = driver.Close(context.Background()) })
	return driver
}

// must gives the value of a call that must not fail: must(call())(t).
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func equal(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v (%T), want %v (%T)", got, got, want, want)
	}
}

// fixture is what most checks need: a session, and a label that no node has.
type fixture struct {
	ctx     context.Context
	driver  neo4j.DriverWithContext
	session neo4j.SessionWithContext
	label   string
}

func prepare(t *testing.T) fixture {
	t.Helper()
	driver := connect(t, server(t), neo4j.NoAuth())
	session := newSession(t, driver)
	label := t.Name() + "Go"
	f := fixture{ctx: t.Context(), driver: driver, session: session, label: label}
	f.run(t, f.query("MATCH (n:L) DETACH DELETE n"), nil)
	return f
}

func newSession(t *testing.T, driver neo4j.DriverWithContext) neo4j.SessionWithContext {
	session := driver.NewSession(t.Context(), neo4j.SessionConfig{})
	t.Cleanup(func() { _ = session.Close(context.Background()) })
	return session
}

// query puts the check's own label in the place of L.
func (f fixture) query(text string) string { return strings.ReplaceAll(text, ":L", ":"+f.label) }

func (f fixture) run(t *testing.T, query string, parameters map[string]any) []*neo4j.Record {
	t.Helper()
	return collect(t, f.session, query, parameters)
}

func collect(t *testing.T, session neo4j.SessionWithContext, query string, parameters map[string]any) []*neo4j.Record {
	t.Helper()
	return must(must(session.Run(t.Context(), query, parameters))(t).Collect(t.Context()))(t)
}

func (f fixture) value(t *testing.T, query string, parameters map[string]any) any {
	t.Helper()
	return only(t, f.run(t, query, parameters))
}

func only(t *testing.T, records []*neo4j.Record) any {
	t.Helper()
	equal(t, len(records), 1)
	return records[0].Values[0]
}

// failure gives the error of a query, wherever it shows.
func failure(ctx context.Context, session neo4j.SessionWithContext, query string, parameters map[string]any) error {
	result, err := session.Run(ctx, query, parameters)
	if err != nil {
		return err
	}
	_, err = result.Consume(ctx)
	return err
}

func expectCode(t *testing.T, err error, code string) *neo4j.Neo4jError {
	t.Helper()
	var failed *neo4j.Neo4jError
	if !errors.As(err, &failed) {
		t.Fatalf("got %v (%T), want a Neo4jError", err, err)
	}
	equal(t, failed.Code, code)
	return failed
}

func note(format string, arguments ...any) { fmt.Printf("note: "+format+"\n", arguments...) }

func TestConnect(t *testing.T) {
	info := must(connect(t, server(t), neo4j.NoAuth()).GetServerInfo(t.Context()))(t)
	if !strings.HasPrefix(info.Agent(), "Neo4j/") {
		t.Fatal(info.Agent())
	}
	version := info.ProtocolVersion()
	equal(t, []int{version.Major, version.Minor}, []int{5, 2})
}

func TestAuthWithoutUsers(t *testing.T) {
	for _, auth := range []neo4j.AuthToken{neo4j.NoAuth(), neo4j.BasicAuth("anyone", "anything", "")} {
		if err := connect(t, server(t), auth).VerifyConnectivity(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAuthWithUsers(t *testing.T) {
	user := environment(t, "BOLT_USER")
	right := neo4j.BasicAuth(user, environment(t, "BOLT_PASSWORD"), "")
	if err := connect(t, withUsers(t), right).VerifyConnectivity(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, auth := range []neo4j.AuthToken{neo4j.NoAuth(), neo4j.BasicAuth(user, "wrong", "")} {
		err := connect(t, withUsers(t), auth).VerifyConnectivity(t.Context())
		expectCode(t, err, "Memgraph.ClientError.Security.Unauthenticated")
		equal(t, neo4j.IsRetryable(err), false)
	}
}

func TestAutoCommit(t *testing.T) {
	f := prepare(t)
	equal(t, f.value(t, f.query("CREATE (n:L {v: $v}) RETURN n.v"), map[string]any{"v": 7}), int64(7))
	result := must(neo4j.ExecuteQuery(
		t.Context(), f.driver, f.query("MATCH (n:L) RETURN n.v AS v"), nil, neo4j.EagerResultTransformer,
	))(t)
	equal(t, only(t, result.Records), int64(7))
	equal(t, result.Keys, []string{"v"})
	equal(t, result.Summary.StatementType(), neo4j.StatementTypeReadOnly)
	equal(t, result.Summary.Database().Name(), "memgraph")
}

func TestExplicitTransaction(t *testing.T) {
	f := prepare(t)
	create, count := f.query("CREATE (:L)"), f.query("MATCH (n:L) RETURN count(n)")
	other := newSession(t, f.driver)
	begin := func(session neo4j.SessionWithContext) neo4j.ExplicitTransaction {
		transaction := must(session.BeginTransaction(f.ctx))(t)
		must(must(transaction.Run(f.ctx, create, nil))(t).Consume(f.ctx))(t)
		return transaction
	}
	transaction := begin(f.session)
	equal(t, must(must(transaction.Run(f.ctx, count, nil))(t).Single(f.ctx))(t).Values[0], int64(1))
	equal(t, only(t, collect(t, other, count, nil)), int64(0))
	if err := transaction.Commit(f.ctx); err != nil {
		t.Fatal(err)
	}
	equal(t, only(t, collect(t, other, count, nil)), int64(1))
	if err := begin(f.session).Rollback(f.ctx); err != nil {
		t.Fatal(err)
	}
	// A session that ends rolls back what is open.
	leaving := newSession(t, f.driver)
	begin(leaving)
	_ = leaving.Close(f.ctx)
	equal(t, only(t, collect(t, other, count, nil)), int64(1))
}

func TestLongTransaction(t *testing.T) {
	f := prepare(t)
	pause := 250 * time.Millisecond
	if seconds := os.Getenv("BOLT_LONG_SECONDS"); seconds != "" {
		pause = must(time.ParseDuration(seconds+"s"))(t) / 4
	}
	count := f.query("MATCH (n:L) RETURN count(n)")
	transaction := must(f.session.BeginTransaction(f.ctx))(t)
	for range 4 {
		must(must(transaction.Run(f.ctx, f.query("CREATE (:L)"), nil))(t).Consume(f.ctx))(t)
		time.Sleep(pause)
	}
	equal(t, must(must(transaction.Run(f.ctx, count, nil))(t).Single(f.ctx))(t).Values[0], int64(4))
	if err := transaction.Commit(f.ctx); err != nil {
		t.Fatal(err)
	}
	equal(t, only(t, collect(t, f.session, count, nil)), int64(4))
}

func TestManagedTransaction(t *testing.T) {
	f := prepare(t)
	must(f.session.ExecuteWrite(f.ctx, func(tx neo4j.ManagedTransaction) (any, error) {
		return tx.Run(f.ctx, f.query("UNWIND [1, 2, 3] AS v CREATE (:L {v: v})"), nil)
	}))(t)
	values := must(f.session.ExecuteRead(f.ctx, func(tx neo4j.ManagedTransaction) (any, error) {
		result, err := tx.Run(f.ctx, f.query("MATCH (n:L) RETURN collect(n.v) AS all"), nil)
		if err != nil {
			return nil, err
		}
		record, err := result.Single(f.ctx)
		if err != nil {
			return nil, err
		}
		return record.Values[0], nil
	}))(t)
	equal(t, values, []any{int64(1), int64(2), int64(3)})
}

// consumed runs a query of a managed transaction to its end.
func consumed(ctx context.Context, tx neo4j.ManagedTransaction, query string, parameters map[string]any) (any, error) {
	result, err := tx.Run(ctx, query, parameters)
	if err != nil {
		return nil, err
	}
	return result.Consume(ctx)
}

func TestManagedTransactionRetriesTransientErrors(t *testing.T) {
	f := prepare(t)
	f.run(t, f.query("CREATE (:L {v: 0})"), nil)
	var begun []time.Time
	must(f.session.ExecuteWrite(f.ctx, func(tx neo4j.ManagedTransaction) (any, error) {
		begun = append(begun, time.Now())
		if len(begun) == 1 {
			other := newSession(t, f.driver)
			conflict := must(other.BeginTransaction(f.ctx))(t)
			defer func() { _ = conflict.Rollback(f.ctx) }()
			must(must(conflict.Run(f.ctx, f.query("MATCH (n:L) SET n.v = 10"), nil))(t).Consume(f.ctx))(t)
		}
		return consumed(f.ctx, tx, f.query("MATCH (n:L) SET n.v = n.v + 1"), nil)
	}))(t)
	equal(t, len(begun), 2)
	equal(t, f.value(t, f.query("MATCH (n:L) RETURN n.v"), nil), int64(1))
	note("retried a transient error after %.2f s", begun[1].Sub(begun[0]).Seconds())
}

func TestManagedTransactionDoesNotRetryClientErrors(t *testing.T) {
	f := prepare(t)
	attempts := 0
	_, err := f.session.ExecuteWrite(f.ctx, func(tx neo4j.ManagedTransaction) (any, error) {
		attempts++
		return consumed(f.ctx, tx, "RETURN 1 / 0", nil)
	})
	expectCode(t, err, clientError)
	equal(t, attempts, 1)
}

func TestPaging(t *testing.T) {
	ctx := t.Context()
	driver := connect(t, server(t), neo4j.NoAuth())
	session := driver.NewSession(ctx, neo4j.SessionConfig{FetchSize: 10})
	defer session.Close(ctx)
	for _, count := range []int{95, 20} {
		records := collect(t, session, "UNWIND range(1, $count) AS n RETURN n", map[string]any{"count": count})
		equal(t, len(records), count)
		for index, record := range records {
			equal(t, record.Values[0], int64(index+1))
		}
	}
	// What is left of a result is discarded.
	half := must(session.Run(ctx, "UNWIND range(1, 95) AS n RETURN n", nil))(t)
	equal(t, half.Next(ctx), true)
	must(half.Consume(ctx))(t)
	transaction := must(session.BeginTransaction(ctx))(t)
	for range 2 {
		result := must(transaction.Run(ctx, "UNWIND range(1, 25) AS n RETURN n", nil))(t)
		equal(t, len(must(result.Collect(ctx))(t)), 25)
	}
	if err := transaction.Commit(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestValues(t *testing.T) {
	f := prepare(t)
	values := []any{
		nil, true, false,
		int64(0), int64(-17), int64(127), int64(-129), int64(1 << 31), int64(math.MaxInt64), int64(math.MinInt64),
		0.0, -1.5, 1e300, math.Inf(1),
		"", "žluťoučký 🐎 'quoted' \"and\" \\",
		[]any{}, []any{int64(1), "two", 3.0, nil, []any{true}},
		map[string]any{},
		map[string]any{"a": int64(1), "nested": map[string]any{"list": []any{int64(1), int64(2)}, "none": nil}},
	}
	for index, value := range values {
		t.Run(fmt.Sprint(index), func(t *testing.T) {
			parameters := map[string]any{"value": value}
			equal(t, f.value(t, "RETURN $value", parameters), value)
			equal(t, f.value(t, f.query("CREATE (n:L {v: $value}) RETURN n.v"), parameters), value)
		})
	}
}

func TestBytesAreRefused(t *testing.T) {
	// Memgraph has no bytes: it takes them for a broken message and closes the connection.
	f := prepare(t)
	err := failure(f.ctx, f.session, "RETURN $value", map[string]any{"value": []byte{0, 255}})
	if err == nil {
		t.Fatal("bytes were taken")
	}
	note("bytes lead to %T: %v", err, err)
	equal(t, f.value(t, "RETURN 1", nil), int64(1))
}

func TestGraphValues(t *testing.T) {
	f := prepare(t)
	record := f.run(t, f.query(
		"CREATE (a:L:Second {name: 'a'})-[r:KNOWS {since: 1999}]->(b:L {name: 'b'}) RETURN a, r, b, id(a)"), nil)[0]
	a, r, b := record.Values[0].(neo4j.Node), record.Values[1].(neo4j.Relationship), record.Values[2].(neo4j.Node)
	equal(t, a.Labels, []string{f.label, "Second"})
	equal(t, a.Props, map[string]any{"name": "a"})
	equal(t, a.ElementId, fmt.Sprint(record.Values[3]))
	equal(t, r.Type, "KNOWS")
	equal(t, r.Props, map[string]any{"since": int64(1999)})
	equal(t, []string{r.StartElementId, r.EndElementId}, []string{a.ElementId, b.ElementId})
	for pattern, names := range map[string]string{
		"(a {name: 'a'})-[r]->(b)": "ab", "(b {name: 'b'})<-[r]-(a)": "ba",
	} {
		path := f.value(t, f.query("MATCH p = "+pattern+" WHERE a:L RETURN p"), nil).(neo4j.Path)
		equal(t, path.Nodes[0].Props["name"].(string)+path.Nodes[1].Props["name"].(string), names)
		equal(t, path.Relationships[0].ElementId, r.ElementId)
		equal(t, path.Relationships[0].StartElementId, a.ElementId)
	}
}

func TestTemporalValues(t *testing.T) {
	f := prepare(t)
	east := time.FixedZone("Offset", 7200)
	values := []any{
		neo4j.DateOf(time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)),
		neo4j.LocalTimeOf(time.Date(0, 1, 1, 13, 14, 15, 123456000, time.Local)),
		neo4j.LocalDateTimeOf(time.Date(2024, 2, 29, 23, 59, 59, 999999000, time.Local)),
		time.Date(2024, 2, 29, 13, 14, 15, 123456000, east),
	}
	for _, value := range values {
		parameters := map[string]any{"value": value}
		stored := f.value(t, f.query("CREATE (n:L {v: $value}) RETURN n.v"), parameters)
		equal(t, fmt.Sprint(stored), fmt.Sprint(value))
	}
	// Memgraph keeps microseconds; days and seconds are told apart anew.
	duration := f.value(t, "RETURN $value", map[string]any{"value": neo4j.DurationOf(0, 1, 90001, 5000)})
	equal(t, duration, neo4j.DurationOf(0, 2, 3601, 5000))
}

func TestErrorCodes(t *testing.T) {
	f := prepare(t)
	for _, query := range []string{"RETURN 1 +", "RETURN missing", "RETURN 1 / 0"} {
		err := failure(f.ctx, f.session, query, nil)
		expectCode(t, err, clientError)
		equal(t, neo4j.IsRetryable(err), false)
	}
	f.run(t, f.query("CREATE (:L {v: 0})"), nil)
	conflict := must(newSession(t, f.driver).BeginTransaction(f.ctx))(t)
	must(must(conflict.Run(f.ctx, f.query("MATCH (n:L) SET n.v = 1"), nil))(t).Consume(f.ctx))(t)
	err := failure(f.ctx, f.session, f.query("MATCH (n:L) SET n.v = 2"), nil)
	failed := expectCode(t, err, transientError)
	equal(t, neo4j.IsRetryable(err), true)
	if !strings.Contains(failed.Msg, "Cannot resolve conflicting transactions") {
		t.Fatal(failed.Msg)
	}
}

func TestNotifications(t *testing.T) {
	f := prepare(t)
	result := must(f.session.Run(f.ctx, f.query("CREATE INDEX ON :L(v)"), nil))(t)
	notifications := must(result.Consume(f.ctx))(t).Notifications()
	equal(t, len(notifications), 1)
	equal(t, notifications[0].Code(), "CreateIndex")
	if !strings.Contains(notifications[0].Title(), f.label) {
		t.Fatal(notifications[0].Title())
	}
	f.run(t, f.query("DROP INDEX ON :L(v)"), nil)
}

func TestSummaryCounters(t *testing.T) {
	f := prepare(t)
	counters := func(query string) neo4j.Counters {
		return must(must(f.session.Run(f.ctx, f.query(query), nil))(t).Consume(f.ctx))(t).Counters()
	}
	created := counters("CREATE (:L {a: 1, b: 2})-[:R]->(:L)")
	equal(t, created.ContainsUpdates(), true)
	equal(t, []int{created.NodesCreated(), created.RelationshipsCreated()}, []int{2, 1})
	equal(t, []int{created.LabelsAdded(), created.PropertiesSet()}, []int{2, 2})
	deleted := counters("MATCH (n:L) DETACH DELETE n")
	equal(t, []int{deleted.NodesDeleted(), deleted.RelationshipsDeleted()}, []int{2, 1})
	equal(t, counters("RETURN 1").ContainsUpdates(), false)
}

func TestBigResult(t *testing.T) {
	f := prepare(t)
	records := f.run(t, "UNWIND range(1, 50000) AS n RETURN n, toString(n) AS text", nil)
	equal(t, len(records), 50000)
	for index, record := range records {
		equal(t, record.Values, []any{int64(index + 1), fmt.Sprint(index + 1)})
	}
}

func TestLongString(t *testing.T) {
	f := prepare(t)
	text := strings.Repeat("0123456789abcdef", 65536)
	record := f.run(t, "RETURN $text AS text, size($text) AS size", map[string]any{"text": text})[0]
	equal(t, record.Values[0] == text, true)
	equal(t, record.Values[1], int64(len(text)))
}

func TestConcurrentSessions(t *testing.T) {
	f := prepare(t)
	f.run(t, f.query("UNWIND range(0, 7) AS id CREATE (:L {id: id, v: 0})"), nil)
	increment := f.query("MATCH (n:L {id: $id}) SET n.v = n.v + 1")
	var group sync.WaitGroup
	for worker := range 8 {
		group.Add(1)
		go func() {
			defer group.Done()
			session := f.driver.NewSession(f.ctx, neo4j.SessionConfig{})
			defer session.Close(f.ctx)
			for range 20 {
				_, err := session.ExecuteWrite(f.ctx, func(tx neo4j.ManagedTransaction) (any, error) {
					return consumed(f.ctx, tx, increment, map[string]any{"id": worker})
				})
				if err != nil {
					t.Error(err)
				}
			}
		}()
	}
	group.Wait()
	equal(t, f.value(t, f.query("MATCH (n:L) RETURN sum(n.v)"), nil), int64(160))
}

func TestSessionAfterFailure(t *testing.T) {
	f := prepare(t)
	expectCode(t, failure(f.ctx, f.session, "RETURN 1 +", nil), clientError)
	equal(t, f.value(t, "RETURN 1", nil), int64(1))
	transaction := must(f.session.BeginTransaction(f.ctx))(t)
	must(must(transaction.Run(f.ctx, f.query("CREATE (:L)"), nil))(t).Consume(f.ctx))(t)
	result, err := transaction.Run(f.ctx, "RETURN 1 / 0", nil)
	if err == nil {
		_, err = result.Consume(f.ctx)
	}
	expectCode(t, err, clientError)
	_ = transaction.Close(f.ctx)
	equal(t, f.value(t, f.query("MATCH (n:L) RETURN count(n)"), nil), int64(0))
}

func TestConnectionRefused(t *testing.T) {
	err := connect(t, closed(t), neo4j.NoAuth()).VerifyConnectivity(t.Context())
	equal(t, neo4j.IsConnectivityError(err), true)
}

func TestTLS(t *testing.T) {
	port := os.Getenv("BOLT_TLS_PORT")
	if port == "" {
		t.Skip("there is no server with TLS")
	}
	// The certificate is the server's own.
	address := "bolt+ssc://" + environment(t, "BOLT_HOST") + ":" + port
	if err := connect(t, address, neo4j.NoAuth()).VerifyConnectivity(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestConnectionLost(t *testing.T) {
	for _, end := range []string{"fin:query", "rst:query", "rst:result"} {
		t.Run(end, func(t *testing.T) {
			ctx := t.Context()
			driver := connect(t, cut(t), neo4j.NoAuth())
			session := driver.NewSession(ctx, neo4j.SessionConfig{FetchSize: neo4j.FetchAll})
			defer session.Close(ctx)
			err := failure(ctx, session, fmt.Sprintf("UNWIND range(1, 50000) AS n RETURN n /* cut:%s */", end), nil)
			equal(t, neo4j.IsConnectivityError(err), true)
			equal(t, neo4j.IsRetryable(err), true)
			equal(t, only(t, collect(t, session, "RETURN 1", nil)), int64(1))
		})
	}
}

func TestManagedTransactionRetriesALostConnection(t *testing.T) {
	ctx := t.Context()
	session := newSession(t, connect(t, cut(t), neo4j.NoAuth()))
	var begun []time.Time
	must(session.ExecuteWrite(ctx, func(tx neo4j.ManagedTransaction) (any, error) {
		begun = append(begun, time.Now())
		query := "RETURN 2"
		if len(begun) == 1 {
			query = "RETURN 1 /* cut:rst:query */"
		}
		return consumed(ctx, tx, query, nil)
	}))(t)
	equal(t, len(begun), 2)
	note("retried a lost connection after %.2f s", begun[1].Sub(begun[0]).Seconds())
}

func TestConnectionLostAtCommit(t *testing.T) {
	// The transaction is committed, but the client cannot know.
	f := prepare(t)
	session := newSession(t, connect(t, cut(t), neo4j.NoAuth()))
	attempts := 0
	_, err := session.ExecuteWrite(f.ctx, func(tx neo4j.ManagedTransaction) (any, error) {
		attempts++
		return consumed(f.ctx, tx, f.query("CREATE (:L) /* cut:rst:commit */"), nil)
	})
	note("a lost answer to COMMIT leads to %T: %v; attempts: %d", err, err, attempts)
	equal(t, err != nil && !neo4j.IsRetryable(err), true)
	equal(t, attempts, 1)
	equal(t, f.value(t, f.query("MATCH (n:L) RETURN count(n)"), nil), int64(1))
}

func TestWriteIsRepeatedWhenItsAnswerIsLost(t *testing.T) {
	f := prepare(t)
	attempts := 0
	err := Write(f.ctx, connect(t, cut(t), neo4j.NoAuth()), func(tx neo4j.ManagedTransaction) (any, error) {
		attempts++
		mark := ""
		if attempts == 1 {
			mark = " /* cut:rst:commit */"
		}
		return consumed(f.ctx, tx, f.query("MERGE (n:L {id: 1}) SET n.v = 2")+mark, nil)
	})
	equal(t, err, nil)
	equal(t, attempts, 2)
	equal(t, f.value(t, f.query("MATCH (n:L) RETURN n.v"), nil), int64(2))
}

func TestWriteThatIsWrongIsNotRepeated(t *testing.T) {
	f := prepare(t)
	attempts := 0
	err := Write(f.ctx, f.driver, func(tx neo4j.ManagedTransaction) (any, error) {
		attempts++
		return consumed(f.ctx, tx, "RETURN 1 / 0", nil)
	})
	expectCode(t, err, clientError)
	equal(t, attempts, 1)
}

func TestOrderIsSavedOnce(t *testing.T) {
	f := prepare(t)
	f.run(t, "MATCH (o:Order {id: 'go'}) DETACH DELETE o", nil)
	for _, amount := range []int{1, 2} {
		equal(t, SaveOrder(f.ctx, f.driver, "go", amount), nil)
	}
	equal(t, f.value(t, "MATCH (o:Order {id: 'go'}) RETURN o.amount", nil), int64(2))
}
