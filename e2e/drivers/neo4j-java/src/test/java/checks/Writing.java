package checks;

import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import java.util.function.Consumer;
import org.neo4j.driver.Driver;
import org.neo4j.driver.TransactionContext;
import org.neo4j.driver.exceptions.Neo4jException;
import org.neo4j.driver.exceptions.ServiceUnavailableException;
import org.neo4j.driver.exceptions.SessionExpiredException;

/** Writes that outlast a change of MAIN: docs/how-to/connect.md shows this. */
final class Writing {
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    private Writing() {}

    /** Runs the work as a transaction until it is done. It may be run more than once. */
    static void write(Driver driver, Consumer<TransactionContext> work) throws InterruptedException {
        var end = Instant.now().plus(PATIENCE);
        while (true) {
            try (var session = driver.session()) {
                session.executeWriteWithoutResult(work);
                return;
            } catch (Neo4jException failure) {
                if (!mayPass(failure) || Instant.now().isAfter(end)) {
                    throw failure;
                }
            }
            Thread.sleep(200);
        }
    }

    /** A lost connection, or an in-sync replica that was away. Anything else fails again. */
    private static boolean mayPass(Neo4jException failure) {
        return failure instanceof ServiceUnavailableException
                || failure instanceof SessionExpiredException
                || failure.getMessage().contains("Replication Exception");
    }

    static void saveOrder(Driver driver, String order, long amount) throws InterruptedException {
        var query = "MERGE (o:Order {id: $id}) SET o.amount = $amount";
        Map<String, Object> parameters = Map.of("id", order, "amount", amount);
        write(driver, tx -> tx.run(query, parameters).consume());
    }
}
