package jetstream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/jsm.go"
	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config/connect"
)

// PoolOptions bound what a Pool does. Zero members take the defaults.
type PoolOptions struct {
	// Name of the connections, as the server shows it. Default: millrace-operator.
	Name string
	// ConnectTimeout bounds the first connection to a server, all its URLs together. Default: 2s.
	ConnectTimeout time.Duration
	// RequestTimeout bounds one JetStream request. Default: 2s.
	RequestTimeout time.Duration
	// RetryAfter is how long a failed connection is not tried again. Default: 2s.
	RetryAfter time.Duration
	// IdleTimeout closes a connection that nobody asked for. Default: 5m.
	IdleTimeout time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

func (o PoolOptions) withDefaults() PoolOptions {
	if o.Name == "" {
		o.Name = "millrace-operator"
	}
	for d, value := range map[*time.Duration]time.Duration{
		&o.ConnectTimeout: 2 * time.Second, &o.RequestTimeout: 2 * time.Second,
		&o.RetryAfter: 2 * time.Second, &o.IdleTimeout: 5 * time.Minute,
	} {
		if *d == 0 {
			*d = value
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Pool keeps one connection per server and credentials. Connections that nobody asks for
// any more are closed while Start runs. Its methods may be called from any goroutine.
type Pool struct {
	options PoolOptions

	mu      sync.Mutex
	closed  bool
	entries map[string]*entry
}

// entry is one connection. Its lock is held while it connects, so that many reconciles of
// pipelines on one server share one attempt.
type entry struct {
	mu       sync.Mutex
	client   *Client
	failure  error
	failedAt time.Time
	// usedAt is guarded by the lock of the pool.
	usedAt time.Time
}

// NewPool returns an empty pool.
func NewPool(options PoolOptions) *Pool {
	return &Pool{options: options.withDefaults(), entries: map[string]*entry{}}
}

// Client returns a connected client. It fails at once, with an UnreachableError, when the
// connection is down at the moment or failed a moment ago.
func (p *Pool) Client(server Server) (*Client, error) {
	e, err := p.entry(server)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client != nil && !e.client.nc.IsClosed() {
		return e.client.ready()
	}
	now := p.options.Now()
	if e.failure != nil && now.Sub(e.failedAt) < p.options.RetryAfter {
		return nil, e.failure
	}
	e.client, e.failure = p.connect(server)
	if e.failure != nil {
		e.failedAt = now
		return nil, e.failure
	}
	return e.client, nil
}

func (p *Pool) entry(server Server) (*entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, &UnreachableError{Server: server.Redacted(), Err: errors.New("the operator is shutting down")}
	}
	key := server.key()
	e := p.entries[key]
	if e == nil {
		e = &entry{}
		p.entries[key] = e
	}
	e.usedAt = p.options.Now()
	return e, nil
}

func (p *Pool) connect(server Server) (*Client, error) {
	// Credentials that are refused twice end the connection; the next call reads them again.
	nc, err := connect.NATS(server.URL, server.login(p.options.ConnectTimeout/time.Duration(len(server.urls()))),
		nats.Name(p.options.Name),
		nats.CustomInboxPrefix(plan.OperatorInbox),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(time.Second),
		// A request to a server that is away fails at once instead of being kept for later.
		nats.ReconnectBufSize(-1),
	)
	if err != nil {
		return nil, &UnreachableError{Server: server.Redacted(), Err: err}
	}
	// Pedantic: the server refuses what it would otherwise change silently, so that what
	// it has is what was sent and a second comparison finds no difference.
	manager, err := jsm.New(nc, jsm.WithTimeout(p.options.RequestTimeout), jsm.WithPedanticRequests())
	if err != nil {
		nc.Close()
		return nil, &UnreachableError{Server: server.Redacted(), Err: err}
	}
	return &Client{nc: nc, manager: manager, server: server.Redacted(), timeout: p.options.RequestTimeout}, nil
}

// Start closes idle connections until the context ends, and then all of them.
func (p *Pool) Start(ctx context.Context) error {
	ticker := time.NewTicker(p.options.IdleTimeout / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			p.Close()
			return nil
		case <-ticker.C:
			p.evict()
		}
	}
}

// Close closes all connections; the pool gives no more clients.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	entries := p.entries
	p.entries = map[string]*entry{}
	p.mu.Unlock()
	for _, e := range entries {
		e.close()
	}
}

func (p *Pool) evict() {
	p.mu.Lock()
	var idle []*entry
	for key, e := range p.entries {
		if p.options.Now().Sub(e.usedAt) >= p.options.IdleTimeout {
			idle = append(idle, e)
			delete(p.entries, key)
		}
	}
	p.mu.Unlock()
	for _, e := range idle {
		e.close()
	}
}

func (e *entry) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client != nil {
		e.client.nc.Close()
	}
}
