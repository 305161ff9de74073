package checks

import (
	"context"
	"strings"
	"time"

	"github.com/neo4j/neo4j-go-driver/v5/neo4j"
)

// Write runs work as a transaction until it is done or the context ends. It may be run more than once.
func Write(ctx context.Context, driver neo4j.DriverWithContext, work neo4j.ManagedTransactionWork) error {
	for {
		session := driver.NewSession(ctx, neo4j.SessionConfig{})
		_, err := session.ExecuteWrite(ctx, work)
		_ = session.Close(ctx)
		if err == nil || !mayPass(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// A lost connection, or an in-sync replica that was away. Anything else fails again.
func mayPass(err error) bool {
	return neo4j.IsConnectivityError(err) || strings.Contains(err.Error(), "Replication Exception")
}

// SaveOrder saves an order once, however often it is tried.
func SaveOrder(ctx context.Context, driver neo4j.DriverWithContext, order string, amount int) error {
	return Write(ctx, driver, func(tx neo4j.ManagedTransaction) (any, error) {
		result, err := tx.Run(ctx, "MERGE (o:Order {id: $id}) SET o.amount = $amount",
			map[string]any{"id": order, "amount": amount})
		if err != nil {
			return nil, err
		}
		return result.Consume(ctx)
	})
}
