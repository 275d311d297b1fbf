package runs

import (
	"strings"
	"testing"
	"time"
)

// TestRoots: each kind of fault is laid at the door of the service that has it, not at that of those above it.
func TestRoots(t *testing.T) {
	for name, test := range map[string]struct {
		q          request
		root, kind string
		text       string
	}{
		"a statement is missing, and the callers' too": {
			request{mute: map[string]bool{"stock": true, "cart": true, "gateway": true}}, "stock", "log", "missing: stock.Main#20 in 0 of",
		},
		"a statement is missing at the top": {request{mute: only("gateway")}, "gateway", "log", "missing: gateway.Main#20"},
		"a statement is new":                {request{extra: map[string]string{"cart": "what is this"}}, "cart", "log", "new: E:cart.Main#99"},
		"a service names another one":       {request{extra: map[string]string{"gateway": "cannot reach price-list today"}}, "price-list", "named", "gateway: E:gateway.Main#99 names price-list"},
		"own time":                          {request{own: map[string]int64{"cart": 300 * millisecond}}, "cart", "own-time", "slow: own time of /cart 300 ms"},
		"the way to a service":              {request{gap: map[string]int64{"stock": 400 * millisecond}}, "stock", "network", "network: gap between cart and stock 400 ms"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, DefaultLimits)
			s.service("price-list")
			s.run(5*time.Minute, request{})
			if len(s.news) > 0 {
				t.Fatalf("told before anything happened: %q", fingerprint(s.news))
			}
			s.run(time.Minute, test.q)
			if len(s.news) == 0 {
				t.Fatal("nothing was found")
			}
			first := s.news[0].Candidates[0]
			if got := first.Service.Name; got != test.root || first.Evidence[0].Kind != test.kind || !strings.HasPrefix(first.Evidence[0].Text, test.text) {
				t.Errorf("found %s, %s %q; want %s, %s %q", got, first.Evidence[0].Kind, first.Evidence[0].Text, test.root, test.kind, test.text)
			}
			if s.lead() != test.root {
				t.Errorf("the last finding names %s, want %s", s.lead(), test.root)
			}
			if took := time.Duration(s.news[0].At - begin - int64(5*time.Minute)); took > 40*time.Second {
				t.Errorf("told after %s", took)
			}
		})
	}
}

// TestLife: an incident opens, goes on every minute, is over when nothing speaks for it, and is closed later; the same root within that
// time opens it again.
func TestLife(t *testing.T) {
	s := newShop(t, DefaultLimits)
	s.run(5*time.Minute, request{})
	s.run(150*time.Second, request{mute: only("stock")})
	open := len(s.news)
	if open < 2 || s.news[0].Status != Open || s.news[0].Revision != 1 || s.news[1].Status != Updated || s.news[1].Revision != 2 {
		t.Fatalf("while it goes on: %q", fingerprint(s.news))
	}
	s.run(4*time.Minute, request{})
	if last := s.news[len(s.news)-1]; last.Status == Closed {
		t.Errorf("closed too early: %q", fingerprint(s.news[open:]))
	}
	s.run(time.Minute, request{mute: only("stock")})
	if last := s.news[len(s.news)-1]; last.ID != s.news[0].ID || last.Status != Updated {
		t.Errorf("a relapse is another incident: %q", fingerprint(s.news))
	}
	s.run(8*time.Minute, request{})
	if last := s.news[len(s.news)-1]; last.ID != s.news[0].ID || last.Status != Closed {
		t.Errorf("the end is %q", fingerprint(s.news[len(s.news)-1:]))
	}
	if n := len(s.c.incidents); n != 0 {
		t.Errorf("%d incidents are left", n)
	}
}

// TestQuiet: nothing is found in an hour of requests that go as ever.
func TestQuiet(t *testing.T) {
	s := newShop(t, DefaultLimits)
	s.run(time.Hour, request{})
	if len(s.news) > 0 {
		t.Errorf("found %q", fingerprint(s.news))
	}
}

// TestNewNorm: what stays as it is becomes the norm after maxHeld panes.
func TestNewNorm(t *testing.T) {
	s := newShop(t, DefaultLimits)
	changed := request{mute: only("stock")}
	s.run(5*time.Minute, request{})
	s.run(25*time.Minute, changed)
	before := len(s.news)
	if before == 0 || s.news[before-1].Status != Closed {
		t.Fatalf("after 25 minutes: %q", fingerprint(s.news))
	}
	s.run(10*time.Minute, changed)
	if len(s.news) != before {
		t.Errorf("found %q in what has become the norm", fingerprint(s.news[before:]))
	}
	s.run(time.Minute, request{})
	if s.lead() != "stock" || len(s.news) == before {
		t.Error("a change back is no finding")
	}
}

// TestNormIsAnHour: what was seen more than an hour ago is forgotten.
func TestNormIsAnHour(t *testing.T) {
	s := newShop(t, DefaultLimits)
	s.run(5*time.Minute, request{})
	route := s.c.routes[0]
	if route.runs < 100 {
		t.Fatalf("a norm of %.0f runs", route.runs)
	}
	s.idle(58 * time.Minute)
	s.run(30*time.Second, request{})
	if route.runs < 100 || s.c.byRoute[routeKey{route.service, route.name}] != route {
		t.Errorf("after 58 minutes a norm of %.0f runs", route.runs)
	}
	s.idle(2 * time.Hour)
	s.run(30*time.Second, request{})
	if n := s.c.byRoute[routeKey{route.service, route.name}]; n.runs > 100 {
		t.Errorf("after two hours a norm of %.0f runs", n.runs)
	}
	if len(s.news) > 0 {
		t.Errorf("found %q", fingerprint(s.news))
	}
}

// TestLogLoss: where all logs of a service stop, what is missing is no evidence, and not the new norm; it is counted.
func TestLogLoss(t *testing.T) {
	s := newShop(t, DefaultLimits)
	s.run(5*time.Minute, request{})
	s.run(7*time.Second, request{}) // it begins within a pane
	s.run(2*time.Minute, request{silent: only("stock")})
	s.run(2*time.Minute, request{})
	if s.lead() != "" {
		t.Errorf("found %q", fingerprint(s.news))
	}
	if s.c.Counts().LogLoss == 0 {
		t.Error("the loss is not counted")
	}
	s.run(time.Minute, request{mute: only("stock")})
	if s.lead() != "stock" {
		t.Errorf("afterwards, found %q", fingerprint(s.news))
	}
}

// TestSilentRuns: runs that log nothing beside others that log are no loss of logs but a fault.
func TestSilentRuns(t *testing.T) {
	s := newShop(t, DefaultLimits)
	s.run(5*time.Minute, request{})
	for range 20 {
		s.run(2*time.Second, request{})
		s.run(time.Second, request{silent: only("stock")})
	}
	s.run(30*time.Second, request{})
	if s.lead() != "stock" || s.c.Counts().LogLoss > 0 {
		t.Errorf("found %q, %d panes without logs", fingerprint(s.news), s.c.Counts().LogLoss)
	}
}

// TestRestart: what was told is closed before everything is forgotten.
func TestRestart(t *testing.T) {
	s := newShop(t, DefaultLimits)
	s.run(5*time.Minute, request{})
	s.run(time.Minute, request{mute: only("stock")})
	if s.lead() != "stock" {
		t.Fatalf("found %q", fingerprint(s.news))
	}
	s.c.Restart()
	if news := s.c.News(); len(news) != 1 || news[0].Status != Closed || news[0].ID != s.news[0].ID {
		t.Errorf("told %q", fingerprint(news))
	}
}

// TestGauge: a gauge that reaches its limit is evidence, one that is always there is not.
func TestGauge(t *testing.T) {
	s := newShop(t, DefaultLimits)
	feed := func(d time.Duration, cart, stock float64) {
		for end := s.at + int64(d); s.at < end; {
			s.run(20*time.Second, request{})
			s.c.Gauge(s.service("cart"), Entity{Kind: "Pod", Namespace: "shop", Name: "cart-1"}, "k8s.pod.cpu_limit_utilization", cart, s.at)
			s.c.Gauge(s.service("stock"), Entity{Kind: "Pod", Namespace: "shop", Name: "stock-1"}, "k8s.pod.cpu_limit_utilization", stock, s.at)
		}
	}
	feed(5*time.Minute, 0.2, 0.97)
	feed(time.Minute, 0.99, 0.98)
	if s.lead() != "cart" || !strings.HasPrefix(s.news[0].Candidates[0].Evidence[0].Text, "resource: k8s.pod.cpu_limit_utilization of cart-1 is at 99 % of its limit, 20 % before") {
		t.Errorf("found %q", fingerprint(s.news))
	}
	if s.news[0].Candidates[0].Confidence < 0.8 {
		t.Errorf("confidence %.2f", s.news[0].Candidates[0].Confidence)
	}
}

// TestBounds: with little room, what was not seen for longest goes, and is counted.
func TestBounds(t *testing.T) {
	l := Limits{Waiting: 10, Routes: 20, Statements: 4, Links: 5, Services: 8, Texts: 50, Gauges: 4, Series: 4}
	s := newShop(t, l)
	s.run(time.Minute, request{})
	busy := s.service("gateway")
	for i := range 400 {
		s.at += second / 4
		s.c.Advance(s.at)
		id := s.id()
		name := strings.Repeat("x", i%100+1)
		s.c.Log(&Log{Span: id, Service: busy, Logger: "l", Text: name})
		s.c.Log(&Log{Span: s.id(), Service: s.service(name), Logger: name, Line: int64(i)})
		s.c.Span(&Span{ID: s.id(), Parent: id, Kind: Client, Service: busy, Peer: name, Database: name[:i%2], End: s.at})
		s.c.Span(&Span{ID: id, Kind: Server, Service: busy, Route: name[i%2*i%len(name):], End: s.at, Duration: second})
		s.c.Gauge(busy, Entity{Name: name}, "m", 0.5, s.at)
		s.c.Sample(busy, name, 1, s.at)
	}
	services, routes, links, waiting := s.c.Sizes()
	if services > l.Services || routes > l.Routes || links > l.Links || waiting > l.Waiting || len(s.c.texts) > l.Texts || len(s.c.gauges) > l.Gauges || len(s.c.series) > l.Series {
		t.Errorf("%d services, %d routes, %d links, %d spans, %d texts, %d gauges, %d series", services, routes, links, waiting, len(s.c.texts), len(s.c.gauges), len(s.c.series))
	}
	for _, r := range s.c.routes {
		if len(r.said) > l.Statements {
			t.Errorf("%s has %d statements", r.name, len(r.said))
		}
	}
	n := s.c.Counts()
	for what, n := range map[string]int64{
		"spans": n.Waiting, "routes": n.Routes, "statements": n.Statements, "links": n.Links, "services": n.Services, "texts": n.Texts, "gauges": n.Gauges, "series": n.Series,
	} {
		if n == 0 {
			t.Errorf("no %s were forgotten", what)
		}
	}
}

// TestTimeJumps: a jump ahead costs no more than a few panes, and spans from the future or the past change nothing but their pane.
func TestTimeJumps(t *testing.T) {
	s := newShop(t, DefaultLimits)
	s.run(time.Minute, request{})
	began := time.Now()
	s.idle(50 * 365 * 24 * time.Hour)
	s.run(time.Minute, request{})
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("fifty years took %s", took)
	}
	for _, end := range []int64{0, -5, s.at - int64(time.Hour), 1 << 62} {
		s.c.Span(&Span{ID: s.id(), Kind: Server, Service: s.service("cart"), Route: "/cart", End: end, Duration: second})
	}
	s.run(time.Minute, request{})
	s.c.End(0)
	if n := len(s.c.queue.heap); n != 1 { // the one that ends in 2116
		t.Errorf("%d spans wait at the end", n)
	}
	s.c.Restart()
	s.at = begin
	s.run(time.Minute, request{})
	if len(s.c.routes) != 3 {
		t.Errorf("%d routes after a restart", len(s.c.routes))
	}
}

// TestOneIncidentForWhatIsConnected: services that do not call each other have incidents of their own.
func TestOneIncidentForWhatIsConnected(t *testing.T) {
	s := newShop(t, DefaultLimits)
	both := func(d time.Duration, q request) {
		for end := s.at + int64(d); s.at < end; {
			s.run(time.Second, q)
			s.handle(&q, 0, "billing", "bank")
		}
	}
	both(6*time.Minute, request{})
	both(time.Minute, request{mute: map[string]bool{"stock": true, "bank": true}})
	leads := map[string]string{}
	for _, f := range s.news {
		leads[f.ID] = f.Candidates[0].Service.Name
	}
	if len(leads) != 2 {
		t.Errorf("incidents: %v", leads)
	}
}

// TestStatements: what tells statements without a line number apart.
func TestStatements(t *testing.T) {
	for text, want := range map[string]string{
		"order 17 is paid": "order ", "key=5": "key", "all is well": "all is well", `got {"a":1}`: "got ", strings.Repeat("y", 200): strings.Repeat("y", 96), "": "",
	} {
		if got := stem(text); got != want {
			t.Errorf("stem(%q) is %q, want %q", text, got, want)
		}
	}
	s := newShop(t, DefaultLimits)
	own, other := s.service("cart"), s.service("price-list")
	for text, want := range map[string]*Service{
		"no instance of price-list": other, "(price-list)": other, "http://price-list:80/x": other, "price-lists": nil, "xprice-list": nil, "my-price-list": nil,
		"cart": nil, "price-list-": other, "-price-list": nil, "Price-list": nil, "": nil,
	} {
		if got := s.c.names(text, own); got != want {
			t.Errorf("%q names %v", text, got)
		}
	}
}

// BenchmarkRuns is of the events of requests through three services: 9 log lines and 5 spans each.
func BenchmarkRuns(b *testing.B) {
	s := newShop(b, DefaultLimits)
	s.run(10*time.Minute, request{})
	const events = 14
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += events {
		s.handle(&request{}, 0, "gateway", "cart", "stock")
		s.at += millisecond
	}
}
