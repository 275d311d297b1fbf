package view

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"millrace.dev/millrace/controllers/internal/jetstream"
)

// Owned are the Pipelines of a cluster, for who reads more streams than those who ask may read. A Pipeline shows the streams that belong to it, and
// no others: its author could name those of somebody else.
type Owned struct {
	*Cluster

	cluster string
	now     func() time.Time

	mu      sync.Mutex
	checked map[ownedKey]lookedAt
}

// lookedAt is what a look has found, and when.
type lookedAt struct {
	at     time.Time
	closed string
}

// ownedKey is what was looked at: on which connection, for which Pipeline, and what it names.
type ownedKey struct {
	client  *jetstream.Client
	of      Name
	streams string
}

// lookAgain is how long a look at the owners of streams is good for.
const lookAgain = 10 * time.Second

// NewOwned wraps a cluster. cluster is its name in the metadata of streams, and now the clock.
func NewOwned(c *Cluster, cluster string, now func() time.Time) *Owned {
	return &Owned{Cluster: c, cluster: cluster, now: now, checked: map[ownedKey]lookedAt{}}
}

// Client is not to be had alone: use Open.
func (o *Owned) Client(ctx context.Context, of Name) (*jetstream.Client, error) {
	_, c, err := o.Open(ctx, of)
	return c, err
}

// Open finds a Pipeline, where it is stored, and its server, and looks whose the streams are. ErrInvalid: one is not the Pipeline's.
func (o *Owned) Open(ctx context.Context, of Name) (*Layout, *jetstream.Client, error) {
	p, err := o.pipeline(ctx, of)
	if err != nil {
		return nil, nil, err
	}
	l, err := o.layout(ctx, of, p)
	if err != nil {
		return nil, nil, err
	}
	c, err := o.connect(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	names := slices.Concat(l.Streams, []string{l.Leases.Stream()})
	key := ownedKey{c, of, strings.Join(names, " ") + " " + l.Ingress.Published}
	if closed, ok := o.known(key); ok {
		l.Closed = closed
		return l, c, nil
	}
	all, err := o.check(l, names, c)
	if err != nil {
		return nil, nil, err
	}
	if all { // one that is missing may be made by somebody else at any time
		o.keep(key, l.Closed)
	}
	return l, c, nil
}

// check looks whose the streams are. It closes an ingress that does not store what is published on its subject: that belongs to others. all tells that
// each stream exists.
func (o *Owned) check(l *Layout, names []string, c *jetstream.Client) (all bool, err error) {
	owner := jetstream.Owner{Pipeline: l.Name.String(), Cluster: o.cluster}
	all = true
	for _, name := range names {
		s, err := c.Stream(name)
		switch {
		case errors.Is(err, jetstream.ErrNotFound):
			all = false
			continue
		case err != nil:
			return false, err
		case !owner.Owns(s.Config.Metadata):
			return false, fmt.Errorf("stream %s does not belong to pipeline %s: %w: its condition StreamsReady says what to do", name, l.Name, ErrInvalid)
		}
		if name == l.Ingress.Stream && !slices.Contains(s.Config.Subjects, l.Ingress.Published+".>") {
			l.Closed = fmt.Sprintf("stream %s does not store %s.> as the manifest says; the condition StreamsReady says why", name, l.Ingress.Published)
		}
	}
	return all, nil
}

func (o *Owned) known(key ownedKey) (closed string, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	looked, ok := o.checked[key]
	return looked.closed, ok && o.now().Sub(looked.at) < lookAgain
}

func (o *Owned) keep(key ownedKey, closed string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	for k, looked := range o.checked {
		if now.Sub(looked.at) >= lookAgain {
			delete(o.checked, k)
		}
	}
	o.checked[key] = lookedAt{now, closed}
}
