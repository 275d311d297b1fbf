package identity

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"millrace.dev/millrace/controllers/console"
	"millrace.dev/millrace/controllers/view"
)

// Tokens, rights, cookies and proxies are tried on a real API server in test/operator.

func key(text string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(text), nil }
}

func TestSessionsEnd(t *testing.T) {
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	i := New(Options{Key: key("secret"), Now: func() time.Time { return now }})
	value, err := i.seal("token")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := i.seal("token"); err != nil || again == value {
		t.Errorf("got the same session twice, %v", err)
	}
	replica := New(Options{Key: key("secret"), Now: func() time.Time { return now }})
	if token, err := replica.open(value); err != nil || token != "token" {
		t.Errorf("another replica: got %q, %v", token, err)
	}
	other := New(Options{Key: key("other"), Now: func() time.Time { return now }})
	if token, err := other.open(value); !errors.Is(err, console.ErrUnauthenticated) {
		t.Errorf("another key: got %q, %v", token, err)
	}
	now = now.Add(12*time.Hour - time.Second)
	if _, err := i.open(value); err != nil {
		t.Errorf("within its time: %v", err)
	}
	now = now.Add(time.Second)
	if token, err := i.open(value); !errors.Is(err, console.ErrUnauthenticated) {
		t.Errorf("after its time: got %q, %v", token, err)
	}
	for _, wrong := range []string{"", "AA", "!", value[:len(value)-4]} {
		if token, err := i.open(wrong); !errors.Is(err, console.ErrUnauthenticated) {
			t.Errorf("%q: got %q, %v", wrong, token, err)
		}
	}
	failing := New(Options{Key: func() ([]byte, error) { return nil, errors.New("no certificate yet") }})
	if _, err := failing.open(value); err == nil || errors.Is(err, console.ErrUnauthenticated) {
		t.Errorf("without a key: got %v, want that to be said", err)
	}
}

// TestWithoutTheAPIServer: nobody is let in, and nobody is told that the token is wrong.
func TestWithoutTheAPIServer(t *testing.T) {
	clientset, err := kubernetes.NewForConfig(&rest.Config{Host: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	i := New(Options{Kubernetes: clientset, Key: key("secret")})
	r := httptest.NewRequest(http.MethodGet, "/api/v1/about", http.NoBody)
	r.Header.Set("Authorization", "Bearer x")
	if user, err := i.User(r); err == nil || errors.Is(err, console.ErrUnauthenticated) || user.Name != "" {
		t.Errorf("got %+v, %v", user, err)
	}
	err = i.Allowed(t.Context(), console.User{Name: "ann"}, console.VerbGet, view.Name{Namespace: "shop", Name: "orders"})
	if err == nil || errors.Is(err, console.ErrForbidden) {
		t.Errorf("got %v", err)
	}
	if n := len(i.tokens.Keys()) + len(i.rights.Keys()); n != 0 {
		t.Errorf("keeps %d answers that nobody gave", n)
	}
}

func TestHeaders(t *testing.T) {
	i := New(Options{Key: key("secret")})
	for name, header := range map[string][2]string{
		"nothing":     {},
		"a password":  {"Authorization", "Basic YTpi"},
		"no token":    {"Authorization", "Bearer "},
		"a long one":  {"Authorization", "Bearer " + string(make([]byte, maxToken+1))},
		"no session":  {"Cookie", cookieName + "="},
		"some cookie": {"Cookie", "session=x"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/api/v1/about", http.NoBody)
		if header[0] != "" {
			r.Header.Set(header[0], header[1])
		}
		if user, err := i.User(r); !errors.Is(err, console.ErrUnauthenticated) {
			t.Errorf("%s: got %+v, %v", name, user, err)
		}
	}
}

func TestProxiesByAddress(t *testing.T) {
	addresses, err := ParseAddresses([]string{"10.1.2.3", "10.9.0.0/16", "fd00::/8"})
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("sixteen bytes or more\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		proxy   Proxy
		from    string
		secret  string
		named   bool
		problem bool
	}{
		"nobody is trusted":          {Proxy{}, "10.1.2.3:5", "", false, false},
		"an address":                 {Proxy{Addresses: addresses}, "10.1.2.3:5", "", true, false},
		"its neighbour":              {Proxy{Addresses: addresses}, "10.1.2.4:5", "", false, false},
		"a network":                  {Proxy{Addresses: addresses}, "10.9.200.1:5", "", true, false},
		"IPv6":                       {Proxy{Addresses: addresses}, "[fd00::1]:5", "", true, false},
		"IPv4 in IPv6":               {Proxy{Addresses: addresses}, "[::ffff:10.1.2.3]:5", "", true, false},
		"no address":                 {Proxy{Addresses: addresses}, "@", "", false, false},
		"a secret":                   {Proxy{SecretFile: secret}, "192.0.2.1:5", "sixteen bytes or more", true, false},
		"both, of which one":         {Proxy{Addresses: addresses, SecretFile: secret}, "10.1.2.3:5", "", false, false},
		"both, of which another":     {Proxy{Addresses: addresses, SecretFile: secret}, "192.0.2.1:5", "sixteen bytes or more", false, false},
		"both":                       {Proxy{Addresses: addresses, SecretFile: secret}, "10.1.2.3:5", "sixteen bytes or more", true, false},
		"a secret that is too short": {Proxy{SecretFile: short}, "192.0.2.1:5", "secret", false, true},
		"a secret that is gone":      {Proxy{SecretFile: short + "-gone"}, "192.0.2.1:5", "secret", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
			r.RemoteAddr = test.from
			r.Header.Set(userHeader, "ann")
			r.Header.Set(groupsHeader, "team, system:masters")
			if test.secret != "" {
				r.Header.Set(SecretHeader, test.secret)
			}
			user, named, err := test.proxy.user(r)
			if named != test.named || (err != nil) != test.problem {
				t.Fatalf("got %+v, %t, %v", user, named, err)
			}
			if named && (user.Name != "ann" || len(user.Groups) != 2 || user.Groups[1] != "team") {
				t.Errorf("got %+v", user)
			}
		})
	}
	if _, err := ParseAddresses([]string{"proxy.example.com"}); err == nil {
		t.Error("a name is taken for an address")
	}
}
