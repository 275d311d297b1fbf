package jetstream

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestDenials: a request finds what was denied to it, by the names in it and not long ago.
func TestDenials(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	d := &denials{now: func() time.Time { return now }}
	violation := func(subject string) error {
		return fmt.Errorf(`%w: Permissions Violation for Publish to "%s"`, nats.ErrPermissionViolation, subject)
	}
	d.note(violation("$JS.API.STREAM.CREATE.ORDERS"))
	d.note(violation("$JS.API.CONSUMER.CREATE.RAW.validate"))
	d.note(errors.New("nats: slow consumer"))
	d.note(fmt.Errorf(`%w: Permissions Violation for Subscription to "x"`, nats.ErrPermissionViolation))
	for _, c := range []struct {
		names []any
		after time.Duration
		want  string
	}{
		{[]any{"ORDERS"}, time.Second, "$JS.API.STREAM.CREATE.ORDERS"},
		{[]any{"validate", "RAW"}, time.Second, "$JS.API.CONSUMER.CREATE.RAW.validate"},
		{[]any{"ORDER"}, time.Second, ""},
		{nil, time.Second, "$JS.API.CONSUMER.CREATE.RAW.validate"},
		{[]any{"ORDERS"}, 5 * time.Second, ""},
	} {
		now = time.Unix(1_700_000_000, 0).Add(c.after)
		if got := d.subject(c.names, 4*time.Second); got != c.want {
			t.Errorf("%v after %s: got %q, want %q", c.names, c.after, got, c.want)
		}
	}
	for range 2 * maxDenials {
		d.note(violation("$JS.API.STREAM.CREATE.MORE"))
	}
	if len(d.all) != maxDenials {
		t.Errorf("%d denials are kept", len(d.all))
	}
}
