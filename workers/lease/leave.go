package lease

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/nats-io/nats.go"
)

// Retire makes this worker give up its lanes while Run runs on: Release is called for each
// of them, and the others take each one as soon as it is drained. A worker that is to end
// calls it first, waits until Idle, ends Run and calls Leave. It is not taken back.
func (k *Keeper) Retire() {
	k.mu.Lock()
	k.leaving = true
	k.mu.Unlock()
	k.poke()
}

// Idle says that this worker has no lane in its hands.
func (k *Keeper) Idle() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.phases {
		if p != away {
			return false
		}
	}
	return true
}

// Leave takes this worker out of the table and frees its lanes at once, whether they are
// drained or not. It is called after Run has returned. It tries until ctx ends; an error
// means that the others have to wait until this worker's beat is over.
func (k *Keeper) Leave(ctx context.Context) error {
	k.mu.Lock()
	running := k.running
	k.mu.Unlock()
	if running {
		return fmt.Errorf("leases: leave: %w", ErrRunning)
	}
	for {
		err := k.leave(ctx)
		if err == nil || errors.Is(err, errNoBucket) {
			return nil
		}
		if errors.Is(err, errConflict) {
			k.pause(ctx, k.again())
		} else {
			k.pause(ctx, k.jittered(k.quick()))
		}
		if ctx.Err() != nil {
			return fmt.Errorf("leases: leave: %w", err)
		}
	}
}

// leave tries once.
func (k *Keeper) leave(ctx context.Context) error {
	t, revision, err := k.store.read(ctx)
	if err != nil {
		return err
	}
	next, changed := t.without(k.o.Worker)
	if changed {
		last := t.clone()
		mine := k.count(&last)
		next.Counts = last.Counts
		if revision, err = k.store.write(ctx, next, revision); err != nil {
			return err
		}
		k.counted = mine
		k.tell(t, next)
	}
	k.mu.Lock()
	k.table, k.revision, k.problem = next, revision, ""
	clear(k.phases)
	k.leaving = false
	k.mu.Unlock()
	return nil
}

// tell hints to the others that there is something to take or to give.
func (k *Keeper) tell(before, after Table) {
	if k.o.Wake == "" || maps.Equal(before.Shares(), after.Shares()) && !freed(before, after) {
		return
	}
	if err := k.o.Conn.Publish(k.o.Wake, []byte(k.o.Worker)); err != nil {
		k.o.Log.Debug("hint not sent", "subject", k.o.Wake, "error", err)
	}
}

func freed(before, after Table) bool {
	for lane, id := range after.Lanes {
		if id == "" && lane < len(before.Lanes) && before.Lanes[lane] != "" {
			return true
		}
	}
	return false
}

// listen waits for hints; the function that it returns ends that.
func (k *Keeper) listen() (stop func(), err error) {
	if k.o.Wake == "" {
		return func() {}, nil
	}
	s, err := k.o.Conn.Subscribe(k.o.Wake, func(m *nats.Msg) {
		if string(m.Data) != k.o.Worker {
			fill(k.hinted)
		}
	})
	if err != nil {
		return nil, err
	}
	return func() {
		if err := s.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			k.o.Log.Debug("still subscribed to hints", "subject", k.o.Wake, "error", err)
		}
	}, nil
}
