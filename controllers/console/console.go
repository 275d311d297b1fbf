package console

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"

	"millrace.dev/millrace/controllers/deadletter"
	"millrace.dev/millrace/controllers/view"
)

// Verbs of an Access.
const (
	VerbList   = "list"   // all pipelines of a namespace
	VerbGet    = "get"    // one pipeline, and everything in it
	VerbUpdate = "update" // replay and purge its dead letters
)

// Access says who may do what.
type Access interface {
	// User knows who sends a request; the error says how to identify oneself.
	User(r *http.Request) (User, error)
	// Allowed is an ErrForbidden when the user may not.
	Allowed(ctx context.Context, user User, verb string, of view.Name) error
}

// Sessions keep browsers signed in.
type Sessions interface {
	// SignIn checks a token, and has the answer tell the browser to come back with a session.
	SignIn(w http.ResponseWriter, r *http.Request, token string) (User, error)
	// SignOut has the answer tell the browser to forget its session.
	SignOut(w http.ResponseWriter)
}

// User is who asks.
type User struct {
	Name   string
	Groups []string
	// UID and Extra are what Kubernetes knows besides.
	UID   string
	Extra map[string][]string
	// Session says that a session of the browser tells who it is, so that signing out ends it.
	Session bool
}

// Options of a console. Reader is required.
type Options struct {
	Reader view.Reader
	// Editor replays and purges dead letters; nil = the console is read-only.
	Editor deadletter.Editor
	// Access says who may ask; nil = everybody who reaches the listener, which must then be a loopback one.
	Access Access
	// Sessions sign users in by a form; nil = there is none.
	Sessions Sessions
	// Recheck is the time between looks whether who has opened a stream may still do so. Default: 10s.
	Recheck time.Duration
	// Lifetime ends a stream, so that its page asks again as whoever it is then. Default: 1h. Without Access streams live on.
	Lifetime time.Duration
	// Hosts are names, without port, that the Host of a request may have besides localhost and loopback addresses.
	Hosts []string
	// Version is what the pages show.
	Version string
	// Streams bounds the live streams of one client, and AllStreams those of all. Defaults: 24, 256.
	Streams, AllStreams int
	// Heartbeat is the time between signs of life on a silent stream. Default: 15s.
	Heartbeat time.Duration
	// Patience is how long a client may take to read what was written. Default: 10s.
	Patience time.Duration
	// Refresh is the time between looks at incidents while somebody watches them. Default: 3s.
	Refresh time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	Log logr.Logger
}

// console is the handler.
type console struct {
	Options

	files   map[string]*file
	streams *limiter
	// questions that wait for an answer, and those that are being answered.
	questions *limiter
	turns     chan struct{}
	hosts     map[string]bool
	workers   *workers // nil = read-only
}

// New returns the handler of a console. Its jobs stop when ctx ends.
func New(ctx context.Context, o Options) (http.Handler, error) {
	o.Streams, o.AllStreams = cmp.Or(o.Streams, 24), cmp.Or(o.AllStreams, 256)
	o.Heartbeat, o.Patience = cmp.Or(o.Heartbeat, 15*time.Second), cmp.Or(o.Patience, 10*time.Second)
	o.Refresh = cmp.Or(o.Refresh, 3*time.Second)
	o.Recheck, o.Lifetime = cmp.Or(o.Recheck, 10*time.Second), cmp.Or(o.Lifetime, time.Hour)
	if o.Now == nil {
		o.Now = time.Now
	}
	files, err := embedded()
	if err != nil {
		return nil, fmt.Errorf("read the pages of the console: %w", err)
	}
	c := &console{
		Options: o, files: files, streams: newLimiter(o.Streams, o.AllStreams), hosts: map[string]bool{},
		questions: newLimiter(waiting, waiting*waiting), turns: make(chan struct{}, answering),
	}
	for _, host := range o.Hosts {
		c.hosts[normalHost(host)] = true
	}
	if o.Editor != nil {
		c.workers = newWorkers(ctx, o.Editor, func(err error) { o.Log.Error(err, "a job of the console stopped") })
	}
	return c.guard(c.routes()), nil
}

// Server serves a console handler. A stream sets the deadline of its writes itself.
func Server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, IdleTimeout: 2 * time.Minute, WriteTimeout: time.Minute,
		MaxHeaderBytes: 32 << 10,
	}
}

// CheckLoopback is nil when an address names a loopback interface: the console of a run asks nobody who they are.
func CheckLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q: want HOST:PORT, such as 127.0.0.1:8080: %w", address, err)
	}
	if host == "localhost" {
		return nil
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%q is no loopback address: the console shows events to everybody who reaches it; "+
			"listen on 127.0.0.1 and reach it through a tunnel, such as ssh -L", address)
	}
	return nil
}

func (c *console) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /api/v1/about", c.json(c.about))
	if c.Sessions != nil {
		mux.HandleFunc("POST "+sessionPath, c.signIn)
		mux.HandleFunc("DELETE "+sessionPath, c.signOut)
	}
	mux.Handle("GET /api/v1/pipelines", c.json(c.pipelines))
	mux.Handle("GET /api/v1/pipelines/live", c.live(c.summaries))
	const of = "/api/v1/pipelines/{namespace}/{name}/"
	mux.Handle("GET "+of+"graph", c.json(read(c, c.graph)))
	mux.Handle("GET "+of+"history", c.json(read(c, c.history)))
	mux.Handle("GET "+of+"flow", c.live(watch(c, c.flow)))
	mux.Handle("GET "+of+"incidents", c.json(read(c, c.incidents)))
	mux.Handle("GET "+of+"incidents/live", c.live(watch(c, c.incidentsLive)))
	mux.Handle("GET "+of+"incidents/{id}", c.json(read(c, c.incident)))
	mux.Handle("GET "+of+"trace", c.json(read(c, c.trace)))
	mux.Handle("GET "+of+"trace/event", c.download(c.traced))
	mux.Handle("GET "+of+"events", c.json(read(c, c.events)))
	mux.Handle("GET "+of+"tap", c.live(watch(c, c.tap)))
	mux.Handle("GET "+of+"tap/ndjson", c.download(c.tapped))
	mux.Handle("GET "+of+"letters", c.json(read(c, c.letters)))
	mux.Handle("GET "+of+"letters/{sequence}", c.json(read(c, c.letter)))
	mux.Handle("GET "+of+"letters/{sequence}/body", c.download(c.letterBody))
	mux.Handle("POST "+of+"letters/purge", c.json(c.purge))
	mux.Handle("GET "+of+"jobs", c.json(read(c, c.jobs)))
	mux.Handle("POST "+of+"jobs", c.json(c.replay))
	mux.Handle("POST "+of+"jobs/{id}/resume", c.json(c.resume))
	mux.Handle("DELETE "+of+"jobs/{id}", c.json(c.cancel))
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		c.fail(w, r, problem{Status: http.StatusNotFound, Reason: "NotFound", Message: "there is no " + r.Method + " " + r.URL.Path})
	})
	mux.HandleFunc("/", c.static)
	return mux
}
