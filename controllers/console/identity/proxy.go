package identity

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strings"

	"millrace.dev/millrace/controllers/console"
)

// SecretHeader is where a proxy sends the secret that it shares with the console.
const SecretHeader = "X-Millrace-Proxy-Secret" //nolint:gosec // the name of a header

// The headers of a proxy such as oauth2-proxy.
const (
	userHeader   = "X-Forwarded-User"
	groupsHeader = "X-Forwarded-Groups"
)

// reserved begins the names that Kubernetes gives itself: a proxy cannot name them.
const reserved = "system:"

// Proxy is who may name users in headers. With neither addresses nor a secret nobody may; with both, a request needs both.
type Proxy struct {
	// Addresses that its requests come from.
	Addresses []netip.Prefix
	// SecretFile holds what it sends in SecretHeader. It is read at each request, so that it can be replaced.
	SecretFile string
}

// ParseAddresses reads addresses and networks, such as 10.1.2.3 and 10.0.0.0/8.
func ParseAddresses(texts []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			address, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("%q is neither an address nor a network, such as 10.1.2.3 or 10.0.0.0/8", text)
			}
			prefix = netip.PrefixFrom(address, address.BitLen())
		}
		all = append(all, prefix.Masked())
	}
	return all, nil
}

// user is whom a trusted proxy names. What others say in these headers counts for nothing.
func (p Proxy) user(r *http.Request) (user console.User, named bool, err error) {
	if trusted, err := p.trusts(r); !trusted || err != nil {
		return console.User{}, false, err
	}
	names := r.Header.Values(userHeader)
	if len(names) == 0 {
		return console.User{}, false, nil
	}
	name := strings.TrimSpace(names[0])
	if len(names) > 1 || name == "" || strings.HasPrefix(name, reserved) {
		return console.User{}, false, fmt.Errorf("%w: the proxy sends %d headers %s, the first with %q: want one with a name that does not begin with %s",
			console.ErrUnauthenticated, len(names), userHeader, name, reserved)
	}
	groups := []string{"system:authenticated"}
	for _, header := range r.Header.Values(groupsHeader) {
		for _, group := range strings.Split(header, ",") {
			if group = strings.TrimSpace(group); group != "" && !strings.HasPrefix(group, reserved) {
				groups = append(groups, group)
			}
		}
	}
	return console.User{Name: name, Groups: groups}, true, nil
}

func (p Proxy) trusts(r *http.Request) (bool, error) {
	if len(p.Addresses) == 0 && p.SecretFile == "" {
		return false, nil
	}
	if len(p.Addresses) > 0 && !p.listed(r.RemoteAddr) {
		return false, nil
	}
	if p.SecretFile == "" {
		return true, nil
	}
	given := r.Header.Get(SecretHeader)
	if given == "" {
		return false, nil
	}
	content, err := os.ReadFile(p.SecretFile)
	if err != nil {
		return false, fmt.Errorf("read the secret of the proxy: %w", err)
	}
	secret := bytes.TrimSpace(content)
	if len(secret) < 16 {
		return false, errors.New("the secret of the proxy has less than 16 bytes: make one of 32 random bytes")
	}
	want, got := sha256.Sum256(secret), sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1, nil
}

func (p Proxy) listed(remote string) bool {
	from, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	for _, prefix := range p.Addresses {
		if prefix.Contains(from.Addr().Unmap()) {
			return true
		}
	}
	return false
}
