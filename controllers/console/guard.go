package console

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"

	"millrace.dev/millrace/controllers/view"
)

// confirm is the header of requests that change something. A page of another site cannot send it without asking first,
// and is never allowed to.
const confirm = "X-Millrace-Console"

// headers go with every answer. The pages have no inline script or style, and load nothing from elsewhere.
var headers = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; manifest-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Permissions-Policy":           "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}

// guard lets in requests for this host, from pages of this host, by users that are known.
func (c *console) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range headers {
			w.Header().Set(name, value)
		}
		if !c.knownHost(r.Host) {
			c.fail(w, r, problem{
				Status: http.StatusMisdirectedRequest, Reason: "WrongHost", Message: "this console is not served as " + hostOf(r.Host),
				Do: "Open it by localhost or 127.0.0.1. In a cluster, its Service and the names of console.hosts lead here, too.",
			})
			return
		}
		if p, bad := crossing(r); bad {
			c.fail(w, r, p)
			return
		}
		if c.Access != nil && strings.HasPrefix(r.URL.Path, "/api/") && r.URL.Path != sessionPath {
			user, err := c.Access.User(r)
			if err != nil {
				c.fail(w, r, err)
				return
			}
			r = r.WithContext(context.WithValue(r.Context(), userKey{}, user))
		}
		next.ServeHTTP(w, r)
	})
}

// crossing tells whether another site is behind a request. Links from elsewhere may lead to pages, nothing more.
func crossing(r *http.Request) (problem, bool) {
	refused := problem{Status: http.StatusForbidden, Reason: "CrossSite", Message: "the request comes from another site", Do: "Use the pages of the console itself."}
	changes := r.Method != http.MethodGet && r.Method != http.MethodHead
	if !changes && !strings.HasPrefix(r.URL.Path, "/api/") {
		return refused, false
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin":
	case "none": // typed into the address bar
		if changes {
			return refused, true
		}
	default:
		return refused, true
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		_, host, ok := strings.Cut(origin, "://")
		if !ok || !strings.EqualFold(host, r.Host) {
			return refused, true
		}
	}
	if changes && r.Header.Get(confirm) == "" {
		return problem{
			Status: http.StatusForbidden, Reason: "NotConfirmed", Message: "a request that changes something needs the header " + confirm,
			Do: "Send " + confirm + ": 1.",
		}, true
	}
	return problem{}, false
}

// knownHost keeps names out that somebody else's name server leads here.
func (c *console) knownHost(hostport string) bool {
	host := normalHost(hostOf(hostport))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") || c.hosts[host] {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func hostOf(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

func normalHost(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// userKey finds the user in the context of a request.
type userKey struct{}

// allowed is nil when who sends the request may do so.
func (c *console) allowed(ctx context.Context, verb string, of view.Name) error {
	if c.Access == nil {
		return nil
	}
	user, _ := ctx.Value(userKey{}).(User)
	return c.Access.Allowed(ctx, user, verb, of)
}

// limiter bounds what clients do at the same time, each and all of them.
type limiter struct {
	each, all int

	mu    sync.Mutex
	open  map[string]int
	total int
}

func newLimiter(each, all int) *limiter {
	return &limiter{each: each, all: all, open: map[string]int{}}
}

// take returns what gives the place back, or nil when there is none.
func (l *limiter) take(client string) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[client] >= l.each || l.total >= l.all {
		return nil
	}
	l.open[client]++
	l.total++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.total--
		if l.open[client]--; l.open[client] == 0 {
			delete(l.open, client)
		}
	}
}

// client of a request: its user, or its address.
func client(r *http.Request) string {
	if user, ok := r.Context().Value(userKey{}).(User); ok {
		return "user " + user.Name
	}
	return "address " + hostOf(r.RemoteAddr)
}
