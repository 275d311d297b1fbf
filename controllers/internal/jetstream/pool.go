package jetstream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/nats-io/jsm.go"
	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config/connect"
)

// PoolOptions bound what a Pool does. Zero members take the defaults.
type PoolOptions struct {
	// Name of the connections, as the server shows it. Default: millrace-operator.
	Name string
	// Inbox starts the subjects that the connections listen on for answers. Default: that of the operator.
	Inbox string
	// Deaf connections do not ask for what others change: that takes rights, and nobody here wants to know.
	Deaf bool
	// ConnectTimeout bounds the first connection to a server, all its URLs together. Default: 2s.
	ConnectTimeout time.Duration
	// Patience is how long a caller waits for the first connection to a server; it is told when
	// there is one later. Default: 250ms.
	Patience time.Duration
	// RequestTimeout bounds one JetStream request. Default: 2s.
	RequestTimeout time.Duration
	// RetryAfter is how long a failed connection is not tried again. Default: 2s.
	RetryAfter time.Duration
	// IdleTimeout closes a connection that nobody asked for. Default: 5m.
	IdleTimeout time.Duration
	// Notify is told what others change on the servers of the pool, and when a connection was
	// lost or is back. It must not block. Default: nobody is told.
	Notify func(Notice)
	// Requested is told of each request: its verb in the JetStream API, its Outcome, and how long it took. Default: nobody is told.
	Requested func(verb, outcome string, took time.Duration)
	// Log has what a connection says outside of a request, such as a right that is missing. Default: nowhere.
	Log logr.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

func (o PoolOptions) withDefaults() PoolOptions {
	if o.Name == "" {
		o.Name = "millrace-operator"
	}
	if o.Inbox == "" {
		o.Inbox = plan.OperatorInbox
	}
	for d, value := range map[*time.Duration]time.Duration{
		&o.ConnectTimeout: 2 * time.Second, &o.RequestTimeout: 2 * time.Second, &o.Patience: 250 * time.Millisecond,
		&o.RetryAfter: 2 * time.Second, &o.IdleTimeout: 5 * time.Minute,
	} {
		if *d == 0 {
			*d = value
		}
	}
	if o.Notify == nil {
		o.Notify = func(Notice) {}
	}
	if o.Requested == nil {
		o.Requested = func(string, string, time.Duration) {}
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

// entry is one connection.
type entry struct {
	mu       sync.Mutex
	client   *Client
	failure  error
	failedAt time.Time
	// attempt is not nil while the entry connects, and closed when that has ended.
	attempt chan struct{}
	// usedAt is guarded by the lock of the pool.
	usedAt time.Time
}

// NewPool returns an empty pool.
func NewPool(options PoolOptions) *Pool {
	return &Pool{options: options.withDefaults(), entries: map[string]*entry{}}
}

// Client returns a connected client, or an UnreachableError. Whoever asks for a server first
// waits for the connection, but not for long. When that fails, or the connection is lost later,
// callers get the failure at once and the pool connects behind their backs: a server that
// swallows packets costs the pipelines of others next to nothing.
func (p *Pool) Client(server Server) (*Client, error) {
	e, key, err := p.entry(server)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	if e.client != nil && !e.client.nc.IsClosed() {
		defer e.mu.Unlock()
		return e.client.ready()
	}
	failure, again := e.failure, p.options.Now().Sub(e.failedAt) >= p.options.RetryAfter
	if e.attempt == nil && (failure == nil || again) {
		e.attempt = make(chan struct{})
		go p.fill(e, key, server)
	}
	attempt := e.attempt
	e.mu.Unlock()
	if failure != nil {
		return nil, failure
	}
	return p.await(e, key, server, attempt)
}

// await waits for the first attempt.
func (p *Pool) await(e *entry, key string, server Server, attempt chan struct{}) (*Client, error) {
	timer := time.NewTimer(p.options.Patience)
	defer timer.Stop()
	select {
	case <-attempt:
	case <-timer.C:
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.failure != nil:
		return nil, e.failure
	case e.client != nil:
		return e.client.ready()
	}
	e.failure = &UnreachableError{Server: server.Redacted(), Connection: key, Err: errors.New("no connection yet")}
	return nil, e.failure
}

// fill makes one attempt to connect.
func (p *Pool) fill(e *entry, key string, server Server) {
	client, err := p.connect(key, server)
	e.mu.Lock()
	defer e.mu.Unlock()
	again := e.failure != nil
	e.client, e.failure, e.failedAt = client, err, p.options.Now()
	close(e.attempt)
	e.attempt = nil
	switch {
	case err != nil:
	case p.gone(key, e):
		client.nc.Close()
	case again:
		p.options.Notify(Notice{Connection: key})
	}
}

// gone reports whether the pool has dropped an entry while it was being filled.
func (p *Pool) gone(key string, e *entry) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.entries[key] != e
}

func (p *Pool) entry(server Server) (*entry, string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := server.key()
	if p.closed {
		return nil, key, &UnreachableError{Server: server.Redacted(), Connection: key, Err: errors.New("the operator is shutting down")}
	}
	e := p.entries[key]
	if e == nil {
		e = &entry{}
		p.entries[key] = e
	}
	e.usedAt = p.options.Now()
	return e, key, nil
}

func (p *Pool) connect(key string, server Server) (*Client, error) {
	unreachable := func(err error) error {
		return &UnreachableError{Server: server.Redacted(), Domain: server.Domain, Connection: key, Err: err}
	}
	everything := func(*nats.Conn) { p.options.Notify(Notice{Connection: key}) }
	denied := &denials{now: p.options.Now}
	// Credentials that are refused twice end the connection; the next call reads them again.
	options := []nats.Option{
		nats.Name(p.options.Name),
		nats.CustomInboxPrefix(p.options.Inbox),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(time.Second),
		// A request to a server that is away fails at once instead of being kept for later.
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(p.heard(server, denied)),
		nats.DisconnectErrHandler(func(nc *nats.Conn, _ error) { everything(nc) }),
		// What happened meanwhile nobody has told, and the server may have lost its store.
		nats.ReconnectHandler(everything),
	}
	if server.InProcess != nil {
		options = append(options, nats.InProcessServer(server.InProcess))
	}
	nc, err := connect.NATS(server.URL, server.login(p.options.ConnectTimeout/time.Duration(len(server.urls()))), options...)
	if err != nil {
		return nil, unreachable(err)
	}
	// Pedantic: the server refuses what it would otherwise change silently, so that what
	// it has is what was sent and a second comparison finds no difference.
	manager, err := jsm.New(nc, jsm.WithTimeout(p.options.RequestTimeout), jsm.WithPedanticRequests(), jsm.WithDomain(string(server.Domain)))
	if err == nil && !p.options.Deaf {
		err = listen(nc, key, server.Domain, p.options.Notify)
	}
	if err != nil {
		nc.Close()
		return nil, unreachable(err)
	}
	return &Client{
		nc: nc, manager: manager, server: server.Redacted(), domain: server.Domain, connection: key,
		timeout: p.options.RequestTimeout, retry: p.options.RetryAfter, notify: p.options.Notify, denials: denied,
		requested: p.options.Requested, now: p.options.Now,
	}, nil
}

// heard is told of what a connection says outside of a request: it goes to the log, and a right that is missing to denied.
func (p *Pool) heard(server Server, denied *denials) nats.ErrHandler {
	log := p.options.Log.WithValues("server", server.Redacted())
	return func(_ *nats.Conn, subscription *nats.Subscription, err error) {
		denied.note(err)
		if subscription != nil {
			log.Error(err, "NATS reports an error", "subject", subscription.Subject)
			return
		}
		log.Error(err, "NATS reports an error")
	}
}

// NeedLeaderElection is false: a replica that does not lead connects as well, to serve external metrics.
func (*Pool) NeedLeaderElection() bool { return false }

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
