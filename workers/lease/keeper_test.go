package lease_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"millrace.dev/millrace/workers/lease"
)

func TestShareEvenly(t *testing.T) {
	r := newRig(t)
	r.bucket()
	a, b, c := r.add("a", 8), r.add("b", 8), r.add("c", 8)
	wantShares(t, 5*time.Second, 8, []*worker{a, b, c}, 3, 3, 2)
	before := fmt.Sprint(a.told(), b.told(), c.told())
	time.Sleep(10 * every)
	if after := fmt.Sprint(a.told(), b.told(), c.told()); after != before {
		t.Errorf("lanes moved while nothing changed:\n%s\n%s", before, after)
	}
}

func TestTheLanesOfTheDeadMove(t *testing.T) {
	r := newRig(t)
	r.bucket()
	a, b, c := r.add("a", 8), r.add("b", 8), r.add("c", 8)
	wantShares(t, 5*time.Second, 8, []*worker{a, b, c}, 3, 3, 2)
	c.stop()
	took := wantShares(t, 5*time.Second, 8, []*worker{a, b}, 4, 4)
	t.Logf("took %s", took)
	if took < expire-2*every || took > expire+time.Second {
		t.Errorf("took %s, want about %s", took, expire)
	}
}

func TestLeaveHandsOverAtOnce(t *testing.T) {
	r := newRig(t)
	r.bucket()
	slow := func(o *lease.Options) { o.Every, o.Expire, o.Wake = 0, 0, "wake.test" }
	a, b, c := r.add("a", 8, slow), r.add("b", 8, slow), r.add("c", 8, slow)
	wantShares(t, 5*time.Second, 8, []*worker{a, b, c}, 3, 3, 2)
	a.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	began := time.Now()
	if err := a.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	wantShares(t, 5*time.Second, 8, []*worker{b, c}, 4, 4)
	took := time.Since(began)
	t.Logf("took %s", took)
	if took > 500*time.Millisecond {
		t.Errorf("took %s, want at most 500ms", took)
	}
}
