package jetstream

import (
	"context"
	"fmt"

	"github.com/nats-io/jsm.go/api"

	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
)

// Counts reads what the workers of a stage have counted, from their table of leases. They are nil when the workers
// do not count; ErrNotFound means that there is no table, since no worker has started yet or the bucket is gone.
func (c *Client) Counts(ctx context.Context, leases plan.Leases, stage string) (*config.Counts, error) {
	table, err := c.table(ctx, leases, stage)
	if err != nil {
		return nil, err
	}
	return config.ParseCounts(table), nil
}

// Breakers reads which circuit breakers of the workers of a stage are open, from their table of leases. ErrNotFound: see Counts.
func (c *Client) Breakers(ctx context.Context, leases plan.Leases, stage string) (config.Breakers, error) {
	table, err := c.table(ctx, leases, stage)
	if err != nil {
		return config.Breakers{}, err
	}
	return config.ParseBreakers(table), nil
}

// table is the table of leases of a stage.
func (c *Client) table(ctx context.Context, leases plan.Leases, stage string) ([]byte, error) {
	m, err := c.stored(ctx, leases.Stream(), api.JSApiMsgGetRequest{LastFor: leases.Key(stage)})
	if err != nil {
		return nil, err
	}
	if len(m.Data) == 0 { // the key was deleted
		return nil, fmt.Errorf("the leases of stage %s: %w", stage, ErrNotFound)
	}
	return m.Data, nil
}
