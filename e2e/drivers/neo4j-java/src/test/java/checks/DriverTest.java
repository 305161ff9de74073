package checks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInfo;
import org.junit.jupiter.api.condition.EnabledIfEnvironmentVariable;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.neo4j.driver.AuthToken;
import org.neo4j.driver.AuthTokens;
import org.neo4j.driver.Config;
import org.neo4j.driver.Driver;
import org.neo4j.driver.GraphDatabase;
import org.neo4j.driver.Logging;
import org.neo4j.driver.Query;
import org.neo4j.driver.Record;
import org.neo4j.driver.Session;
import org.neo4j.driver.SessionConfig;
import org.neo4j.driver.TransactionContext;
import org.neo4j.driver.Value;
import org.neo4j.driver.Values;
import org.neo4j.driver.exceptions.ClientException;
import org.neo4j.driver.exceptions.Neo4jException;
import org.neo4j.driver.exceptions.RetryableException;
import org.neo4j.driver.exceptions.ServiceUnavailableException;
import org.neo4j.driver.exceptions.TransientException;
import org.neo4j.driver.summary.QueryType;
import org.neo4j.driver.types.Path;

/** The official Java driver against Memgraph. The checks are those of e2e/drivers/README.md. */
@ExtendWith(Outcome.class)
class DriverTest {
    private static final String CLIENT_ERROR = "Memgraph.ClientError.MemgraphError.MemgraphError";
    private static final String TRANSIENT_ERROR = "Memgraph.TransientError.MemgraphError.MemgraphError";
    private static final Config CONFIG =
            Config.builder().withLogging(Logging.none()).build();

    private static Driver driver;
    private Session session;
    /** A label of the check's own, which no node has. */
    private String label;

    private static String environment(String name) {
        var value = System.getenv(name);
        assertTrue(value != null && !value.isEmpty(), name + " is not set");
        return value;
    }

    private static String server(String port) {
        return "bolt://" + environment("BOLT_HOST") + ":" + environment(port);
    }

    private static String local(String port) {
        return "bolt://127.0.0.1:" + environment(port);
    }

    private static Driver connect(String uri, AuthToken auth) {
        return GraphDatabase.driver(uri, auth, CONFIG);
    }

    private static void note(String text, Object... values) {
        System.out.println("note: " + text.formatted(values));
    }

    @BeforeAll
    static void open() {
        driver = connect(server("BOLT_PORT"), AuthTokens.none());
    }

    @AfterAll
    static void close() {
        driver.close();
    }

    @BeforeEach
    void openSession(TestInfo test) {
        session = driver.session();
        label = test.getTestMethod().orElseThrow().getName() + "Java";
        session.run(query("MATCH (n:L) DETACH DELETE n")).consume();
    }

    @AfterEach
    void closeSession() {
        session.close();
    }

    /** Puts the check's own label in the place of L. */
    private String query(String text) {
        return text.replace(":L", ":" + label);
    }

    private Value value(String text, Object... parameters) {
        return session.run(query(text), Values.parameters(parameters)).single().get(0);
    }

    @Test
    void connect() {
        driver.verifyConnectivity();
        var server = session.run("RETURN 1").consume().server();
        assertTrue(server.agent().startsWith("Neo4j/"), server.agent());
        assertEquals("5.2", server.protocolVersion());
    }

    @Test
    void authWithoutUsers() {
        for (var auth : List.of(AuthTokens.none(), AuthTokens.basic("anyone", "anything"))) {
            try (var own = connect(server("BOLT_PORT"), auth)) {
                own.verifyConnectivity();
            }
        }
    }

    @Test
    void authWithUsers() {
        var user = environment("BOLT_USER");
        try (var own = connect(server("BOLT_USERS_PORT"), AuthTokens.basic(user, environment("BOLT_PASSWORD")))) {
            own.verifyConnectivity();
        }
        for (var auth : List.of(AuthTokens.none(), AuthTokens.basic(user, "wrong"))) {
            try (var own = connect(server("BOLT_USERS_PORT"), auth)) {
                var failure = assertThrows(Neo4jException.class, own::verifyConnectivity);
                assertEquals("Memgraph.ClientError.Security.Unauthenticated", failure.code());
                assertFalse(failure instanceof RetryableException);
            }
        }
    }

    @Test
    void autoCommit() {
        assertEquals(7, value("CREATE (n:L {v: $v}) RETURN n.v", "v", 7).asInt());
        var result = driver.executableQuery(query("MATCH (n:L) RETURN n.v AS v")).execute();
        assertEquals(List.of("v"), result.keys());
        assertEquals(7, result.records().get(0).get("v").asInt());
        assertEquals(QueryType.READ_ONLY, result.summary().queryType());
        assertEquals("memgraph", result.summary().database().name());
    }

    @Test
    void explicitTransaction() {
        var create = query("CREATE (:L)");
        var count = query("MATCH (n:L) RETURN count(n)");
        try (var other = driver.session()) {
            try (var transaction = session.beginTransaction()) {
                transaction.run(create).consume();
                assertEquals(1, transaction.run(count).single().get(0).asInt());
                assertEquals(0, other.run(count).single().get(0).asInt());
                transaction.commit();
            }
            assertEquals(1, other.run(count).single().get(0).asInt());
            try (var transaction = session.beginTransaction()) {
                transaction.run(create).consume();
                transaction.rollback();
            }
            // A transaction that is only closed is rolled back.
            try (var transaction = session.beginTransaction()) {
                transaction.run(create).consume();
            }
            assertEquals(1, other.run(count).single().get(0).asInt());
        }
    }

    @Test
    void longTransaction() throws InterruptedException {
        var count = query("MATCH (n:L) RETURN count(n)");
        var seconds = Double.parseDouble(System.getenv().getOrDefault("BOLT_LONG_SECONDS", "1"));
        try (var transaction = session.beginTransaction()) {
            for (int done = 0; done < 4; done++) {
                transaction.run(query("CREATE (:L)")).consume();
                Thread.sleep((long) (seconds * 250));
            }
            assertEquals(4, transaction.run(count).single().get(0).asInt());
            transaction.commit();
        }
        assertEquals(4, session.run(count).single().get(0).asInt());
    }

    @Test
    void managedTransaction() {
        session.executeWriteWithoutResult(
                tx -> tx.run(query("UNWIND [1, 2, 3] AS v CREATE (:L {v: v})")).consume());
        var values = session.executeRead(tx -> tx.run(query("MATCH (n:L) RETURN n.v ORDER BY n.v DESC"))
                .list(record -> record.get(0).asInt()));
        assertEquals(List.of(3, 2, 1), values);
    }

    @Test
    void managedTransactionRetriesTransientErrors() {
        session.run(query("CREATE (:L {v: 0})")).consume();
        var begun = new ArrayList<Long>();
        var result = session.executeWrite(tx -> {
            begun.add(System.nanoTime());
            if (begun.size() > 1) {
                return tx.run(query("MATCH (n:L) SET n.v = n.v + 1 RETURN n.v")).single().get(0).asInt();
            }
            try (var other = driver.session(); var conflict = other.beginTransaction()) {
                conflict.run(query("MATCH (n:L) SET n.v = 10")).consume();
                return tx.run(query("MATCH (n:L) SET n.v = n.v + 1 RETURN n.v")).single().get(0).asInt();
            }
        });
        assertEquals(1, result);
        assertEquals(2, begun.size());
        note("retried a transient error after %.2f s", seconds(begun));
    }

    private static double seconds(List<Long> begun) {
        return (begun.get(1) - begun.get(0)) / 1e9;
    }

    @Test
    void managedTransactionDoesNotRetryClientErrors() {
        var attempts = new AtomicInteger();
        var failure = assertThrows(
                ClientException.class,
                () -> session.executeWrite(tx -> {
                    attempts.incrementAndGet();
                    return tx.run("RETURN 1 / 0").consume();
                }));
        assertEquals(CLIENT_ERROR, failure.code());
        assertEquals(1, attempts.get());
    }

    @Test
    void paging() {
        try (var paged = driver.session(SessionConfig.builder().withFetchSize(10).build())) {
            for (var count : List.of(95, 20)) {
                var rows = paged.run("UNWIND range(1, $count) AS n RETURN n", Map.of("count", count))
                        .list(record -> record.get("n").asInt());
                assertEquals(IntStream.rangeClosed(1, count).boxed().toList(), rows);
            }
            // What is left of a result is discarded.
            var half = paged.run("UNWIND range(1, 95) AS n RETURN n");
            assertEquals(1, half.next().get("n").asInt());
            half.consume();
            try (var transaction = paged.beginTransaction()) {
                for (var query = 0; query < 2; query++) {
                    assertEquals(25, transaction.run("UNWIND range(1, 25) AS n RETURN n").list().size());
                }
                transaction.commit();
            }
        }
    }

    static Stream<Value> values() {
        return Stream.of(
                        null,
                        true,
                        false,
                        0L,
                        -17L,
                        127L,
                        -129L,
                        1L << 31,
                        Long.MAX_VALUE,
                        Long.MIN_VALUE,
                        0.0,
                        -1.5,
                        1e300,
                        Double.POSITIVE_INFINITY,
                        "",
                        "žluťoučký 🐎 'quoted' \"and\" \\",
                        List.of(),
                        Arrays.asList(1L, "two", 3.0, null, List.of(true)),
                        Map.of(),
                        Map.of("a", 1L, "nested", Map.of("list", List.of(1L, 2L))))
                .map(Values::value);
    }

    @ParameterizedTest
    @MethodSource
    void values(Value sent) {
        assertEquals(sent, value("RETURN $value", "value", sent));
        assertEquals(sent, value("CREATE (n:L {v: $value}) RETURN n.v", "value", sent));
    }

    @Test
    void bytesAreRefused() {
        // Memgraph has no bytes: it takes them for a broken message and closes the connection.
        var failure = assertThrows(Neo4jException.class, () -> value("RETURN $value", "value", new byte[] {0, -1}));
        note("bytes lead to %s: %s", failure.getClass().getSimpleName(), failure.getMessage());
        assertEquals(1, value("RETURN 1").asInt());
    }

    @Test
    void graphValues() {
        var record = session.run(query("CREATE (a:L:Second {name: 'a'})-[r:KNOWS {since: 1999}]->(b:L {name: 'b'}) "
                        + "RETURN a, r, b, id(a) AS id"))
                .single();
        var a = record.get("a").asNode();
        var r = record.get("r").asRelationship();
        var b = record.get("b").asNode();
        assertTrue(a.hasLabel(label) && a.hasLabel("Second"));
        assertEquals(Map.of("name", "a"), a.asMap());
        assertEquals(record.get("id").toString(), a.elementId());
        assertEquals("KNOWS", r.type());
        assertEquals(Map.of("since", 1999L), r.asMap());
        assertEquals(List.of(a.elementId(), b.elementId()), List.of(r.startNodeElementId(), r.endNodeElementId()));
        for (var pattern : List.of("(a {name: 'a'})-[r]->(b)", "(b {name: 'b'})<-[r]-(a)")) {
            Path path = value("MATCH p = " + pattern + " WHERE a:L RETURN p").asPath();
            var names = path.start().get("name").asString() + path.end().get("name").asString();
            assertEquals(pattern.startsWith("(a") ? "ab" : "ba", names);
            assertEquals(r.elementId(), path.relationships().iterator().next().elementId());
            assertEquals(a.elementId(), path.relationships().iterator().next().startNodeElementId());
        }
    }

    @Test
    void temporalValues() {
        var values = List.of(
                LocalDate.of(2024, 2, 29),
                LocalTime.of(13, 14, 15, 123456000),
                LocalDateTime.of(2024, 2, 29, 23, 59, 59, 999999000),
                ZonedDateTime.of(2024, 2, 29, 13, 14, 15, 123456000, ZoneOffset.ofHours(2)));
        for (var sent : values) {
            assertEquals(sent, value("CREATE (n:L {v: $value}) RETURN n.v", "value", sent).asObject());
        }
        // Memgraph keeps microseconds; days and seconds are told apart anew.
        var duration = value("RETURN $value", "value", Values.isoDuration(0, 1, 90001, 5000));
        assertEquals(Values.isoDuration(0, 2, 3601, 5000), duration);
    }

    @Test
    void errorCodes() {
        for (var text : List.of("RETURN 1 +", "RETURN missing", "RETURN 1 / 0")) {
            var failure = assertThrows(ClientException.class, () -> session.run(text).consume());
            assertEquals(CLIENT_ERROR, failure.code());
            assertFalse(failure instanceof RetryableException);
        }
        session.run(query("CREATE (:L {v: 0})")).consume();
        try (var other = driver.session(); var conflict = other.beginTransaction()) {
            conflict.run(query("MATCH (n:L) SET n.v = 1")).consume();
            var failure = assertThrows(
                    TransientException.class,
                    () -> session.run(query("MATCH (n:L) SET n.v = 2")).consume());
            assertEquals(TRANSIENT_ERROR, failure.code());
            assertInstanceOf(RetryableException.class, failure);
            assertTrue(failure.getMessage().contains("Cannot resolve conflicting transactions"));
        }
    }

    @Test
    void notifications() {
        var notifications = session.run(query("CREATE INDEX ON :L(v)")).consume().notifications();
        assertEquals(1, notifications.size());
        assertEquals("CreateIndex", notifications.get(0).code());
        assertTrue(notifications.get(0).title().contains(label));
        session.run(query("DROP INDEX ON :L(v)")).consume();
    }

    @Test
    void summaryCounters() {
        var created = session.run(query("CREATE (:L {a: 1, b: 2})-[:R]->(:L)")).consume().counters();
        assertTrue(created.containsUpdates());
        assertEquals(List.of(2, 1), List.of(created.nodesCreated(), created.relationshipsCreated()));
        assertEquals(List.of(2, 2), List.of(created.labelsAdded(), created.propertiesSet()));
        var deleted = session.run(query("MATCH (n:L) DETACH DELETE n")).consume().counters();
        assertEquals(List.of(2, 1), List.of(deleted.nodesDeleted(), deleted.relationshipsDeleted()));
        assertFalse(session.run("RETURN 1").consume().counters().containsUpdates());
    }

    @Test
    void bigResult() {
        var result = session.run("UNWIND range(1, 50000) AS n RETURN n, toString(n) AS text");
        var sum = result.stream()
                .peek(record -> assertEquals(String.valueOf(record.get("n").asInt()), record.get("text").asString()))
                .mapToLong(record -> record.get("n").asLong())
                .sum();
        assertEquals(LongStream.rangeClosed(1, 50000).sum(), sum);
    }

    @Test
    void longString() {
        var text = "0123456789abcdef".repeat(65536);
        Record record = session.run(new Query("RETURN $text AS text, size($text) AS size", Map.of("text", text)))
                .single();
        assertEquals(text, record.get("text").asString());
        assertEquals(text.length(), record.get("size").asInt());
    }

    @Test
    void concurrentSessions() throws Exception {
        session.run(query("UNWIND range(0, 7) AS id CREATE (:L {id: id, v: 0})")).consume();
        var increment = query("MATCH (n:L {id: $id}) SET n.v = n.v + 1");
        var pool = Executors.newFixedThreadPool(8);
        try {
            Stream<Callable<Void>> work = IntStream.range(0, 8).mapToObj(worker -> () -> {
                try (var own = driver.session()) {
                    for (var round = 0; round < 20; round++) {
                        own.executeWriteWithoutResult(
                                tx -> tx.run(increment, Map.of("id", worker)).consume());
                    }
                }
                return null;
            });
            for (Future<Void> done : pool.invokeAll(work.toList())) {
                done.get();
            }
        } finally {
            pool.shutdownNow();
        }
        assertEquals(160, value("MATCH (n:L) RETURN sum(n.v)").asInt());
    }

    @Test
    void sessionAfterFailure() {
        assertThrows(ClientException.class, () -> session.run("RETURN 1 +").consume());
        assertEquals(1, value("RETURN 1").asInt());
        try (var transaction = session.beginTransaction()) {
            transaction.run(query("CREATE (:L)")).consume();
            assertThrows(ClientException.class, () -> transaction.run("RETURN 1 / 0").consume());
        }
        assertEquals(0, value("MATCH (n:L) RETURN count(n)").asInt());
    }

    @Test
    void connectionRefused() {
        try (var refused = connect(local("BOLT_CLOSED_PORT"), AuthTokens.none())) {
            assertThrows(ServiceUnavailableException.class, refused::verifyConnectivity);
        }
    }

    @Test
    @EnabledIfEnvironmentVariable(named = "BOLT_TLS_PORT", matches = ".+")
    void tls() {
        // The certificate is the server's own.
        var address = "bolt+ssc://" + environment("BOLT_HOST") + ":" + environment("BOLT_TLS_PORT");
        try (var own = connect(address, AuthTokens.none())) {
            own.verifyConnectivity();
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"fin:query", "rst:query", "rst:result"})
    void connectionLost(String end) {
        var all = SessionConfig.builder().withFetchSize(-1).build();
        try (var own = connect(local("BOLT_CUT_PORT"), AuthTokens.none()); var cut = own.session(all)) {
            var text = "UNWIND range(1, 50000) AS n RETURN n /* cut:%s */".formatted(end);
            var failure = assertThrows(Neo4jException.class, () -> cut.run(text).consume());
            assertInstanceOf(RetryableException.class, failure);
            assertEquals(1, cut.run("RETURN 1").single().get(0).asInt());
        }
    }

    @Test
    void managedTransactionRetriesALostConnection() {
        var begun = new ArrayList<Long>();
        try (var own = connect(local("BOLT_CUT_PORT"), AuthTokens.none()); var cut = own.session()) {
            var result = cut.executeWrite(tx -> {
                begun.add(System.nanoTime());
                return single(tx, begun.size() == 1 ? "RETURN 1 /* cut:rst:query */" : "RETURN 2");
            });
            assertEquals(2, result);
        }
        assertEquals(2, begun.size());
        note("retried a lost connection after %.2f s", seconds(begun));
    }

    private static int single(TransactionContext tx, String text) {
        return tx.run(text).single().get(0).asInt();
    }

    @Test
    void connectionLostAtCommit() {
        // The transaction is committed, but the client cannot know.
        var attempts = new AtomicInteger();
        Neo4jException failure = null;
        try (var own = connect(local("BOLT_CUT_PORT"), AuthTokens.none()); var cut = own.session()) {
            cut.executeWriteWithoutResult(tx -> {
                var mark = attempts.incrementAndGet() == 1 ? " /* cut:rst:commit */" : "";
                tx.run(query("CREATE (:L)") + mark).consume();
            });
        } catch (Neo4jException lost) {
            failure = lost;
        }
        note("a lost answer to COMMIT leads to %s; attempts: %d", failure == null ? "a retry" : failure, attempts.get());
        assertEquals(attempts.get(), value("MATCH (n:L) RETURN count(n)").asInt());
    }

    @Test
    void aWriteIsRepeatedWhenItsAnswerIsLost() throws InterruptedException {
        var attempts = new AtomicInteger();
        try (var own = connect(local("BOLT_CUT_PORT"), AuthTokens.none())) {
            Writing.write(own, tx -> {
                var mark = attempts.incrementAndGet() == 1 ? " /* cut:rst:commit */" : "";
                tx.run(query("MERGE (n:L {id: 1}) SET n.v = 2") + mark).consume();
            });
        }
        assertEquals(2, attempts.get());
        assertEquals(2, value("MATCH (n:L) RETURN n.v").asInt());
    }

    @Test
    void aWriteThatIsWrongIsNotRepeated() {
        var attempts = new AtomicInteger();
        assertThrows(ClientException.class, () -> Writing.write(driver, tx -> {
            attempts.incrementAndGet();
            tx.run("RETURN 1 / 0").consume();
        }));
        assertEquals(1, attempts.get());
    }

    @Test
    void anOrderIsSavedOnce() throws InterruptedException {
        session.run("MATCH (o:Order {id: 'java'}) DETACH DELETE o").consume();
        for (var amount : List.of(1L, 2L)) {
            Writing.saveOrder(driver, "java", amount);
        }
        assertEquals(2, value("MATCH (o:Order {id: 'java'}) RETURN o.amount").asInt());
    }
}
