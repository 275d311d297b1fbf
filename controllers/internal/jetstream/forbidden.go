package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A server that does not let a user publish on a subject does not answer the request: it tells the connection, and the request times
// out. So each connection notes what was denied of late, and a request that times out looks there.

// ForbiddenError says that the operator's user lacks a right. Trying again helps when somebody has given it.
type ForbiddenError struct {
	// Server is the URL without user and password, Subject where the user may not publish.
	Server, Subject string
	Err             error
}

func (e *ForbiddenError) Error() string {
	return fmt.Sprintf("the user of the operator may not publish on %s at %s: give it the rights that `millrace nats-permissions` prints for this Pipeline", e.Subject, e.Server)
}

func (e *ForbiddenError) Unwrap() error { return e.Err }

// IsForbidden reports whether err says that the operator's user lacks a right.
func IsForbidden(err error) bool {
	var f *ForbiddenError
	return errors.As(err, &f)
}

// denials are the subjects of a connection on which the server did not let it publish.
type denials struct {
	now func() time.Time

	mu  sync.Mutex
	all []denial
}

type denial struct {
	subject string
	at      time.Time
}

// maxDenials bounds what is kept.
const maxDenials = 256

// note is told of an error of the connection that is no answer to a request.
func (d *denials) note(err error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return
	}
	_, subject, quoted := strings.Cut(err.Error(), `Publish to "`) // nats-server, server/client.go: pubPermissionViolation
	subject, _, closed := strings.Cut(subject, `"`)
	if !quoted || !closed {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all = append(d.all, denial{subject, d.now()}); len(d.all) > maxDenials {
		d.all = slices.Delete(d.all, 0, len(d.all)-maxDenials)
	}
}

// subject is the one that was denied to a request about names within some time, the latest first; empty = none.
func (d *denials) subject(names []any, within time.Duration) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	since := d.now().Add(-within)
	for _, one := range slices.Backward(d.all) {
		if one.at.Before(since) {
			break
		}
		if tokens := strings.Split(one.subject, "."); len(names) == 0 || slices.ContainsFunc(names, func(name any) bool { return slices.Contains(tokens, fmt.Sprint(name)) }) {
			return one.subject
		}
	}
	return ""
}

// denied is a ForbiddenError when a request about names timed out because the server did not let it be made, otherwise nil.
func (c *Client) denied(err error, names []any) error {
	if !errors.Is(err, nats.ErrTimeout) && !errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	if subject := c.denials.subject(names, 2*c.timeout); subject != "" {
		return &ForbiddenError{Server: c.server, Subject: subject, Err: err}
	}
	return nil
}
