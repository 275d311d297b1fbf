package connect

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// Login says how a connection is secured.
type Login struct {
	// Load returns the material as it is now. It is called at each connect and reconnect, and
	// always returns the same kind of material. Required.
	Load func() (Material, error)
	// TLS demands TLS, whatever the URL says.
	TLS bool
	// HandshakeFirst begins TLS before the greeting of the server, and so demands TLS.
	HandshakeFirst bool
	// Timeout bounds one attempt to reach one server. Default: 2s.
	Timeout time.Duration
}

// NATS connects to the servers of a URL, and again when the connection is lost, as options say.
// The error holds no secret.
func NATS(servers string, l Login, options ...nats.Option) (*nats.Conn, error) {
	if err := CheckURL(servers); err != nil {
		return nil, err
	}
	m, err := l.Load()
	if err == nil {
		err = m.Check()
	}
	if err != nil {
		return nil, err
	}
	if l.Timeout == 0 {
		l.Timeout = nats.DefaultTimeout
	}
	all := append([]nats.Option{nats.Timeout(l.Timeout)}, l.security(m)...)
	keys := &keyDialer{load: l.Load, dialer: net.Dialer{Timeout: l.Timeout}}
	if len(m.Seed) > 0 {
		public, err := m.publicKey()
		if err != nil {
			return nil, err
		}
		all = append(all, nats.Nkey(public, l.sign), nats.SetCustomDialer(keys))
	}
	conn, err := nats.Connect(servers, append(all, options...)...)
	if err != nil {
		return nil, explain(err, l)
	}
	keys.conn.Store(conn)
	return conn, nil
}

// CheckURL refuses URLs that nats.go would quote in its errors, and those with a user.
func CheckURL(servers string) error {
	for part := range strings.SplitSeq(servers, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			return errors.New("the url is empty")
		}
		u, err := url.Parse(part)
		switch {
		case err != nil:
			return errors.New("the url is malformed")
		case u.User != nil || strings.Contains(part, "@"):
			return errors.New("the url holds a user or password, which would end up in logs: give them as a file")
		}
	}
	return nil
}

// explain adds what a server that does not greet may be waiting for.
func explain(err error, l Login) error {
	var timeout net.Error
	if l.HandshakeFirst || !errors.As(err, &timeout) || !timeout.Timeout() {
		return err
	}
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" { // nobody took the connection
		return err
	}
	return fmt.Errorf("%w: the server took the connection and did not greet; it may want TLS before its greeting (its option handshake_first): "+
		"set nats.tls.handshakeFirst, or --nats-tls-handshake-first", err)
}

func (l Login) security(m Material) []nats.Option {
	var all []nats.Option
	if l.HandshakeFirst {
		all = append(all, nats.TLSHandshakeFirst())
	}
	if l.TLS || l.HandshakeFirst || len(m.CA) > 0 || len(m.Certificate) > 0 {
		all = append(all, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12}))
	}
	if len(m.CA)+len(m.Certificate) > 0 {
		all = append(all, nats.ClientTLSConfig(l.certificate(m), l.roots(m)))
	}
	switch {
	case len(m.Credentials) > 0:
		all = append(all, nats.UserJWT(l.jwt, l.sign))
	case m.User != "":
		all = append(all, nats.UserInfoHandler(l.user))
	}
	return all
}

// certificate is nil without one: nats.go would show an empty one.
func (l Login) certificate(m Material) nats.TLSCertHandler {
	if len(m.Certificate) == 0 {
		return nil
	}
	return func() (tls.Certificate, error) {
		m, err := l.Load()
		if err != nil {
			return tls.Certificate{}, err
		}
		return m.pair()
	}
}

func (l Login) roots(m Material) nats.RootCAsHandler {
	if len(m.CA) == 0 {
		return nil
	}
	return func() (*x509.CertPool, error) {
		m, err := l.Load()
		if err != nil {
			return nil, err
		}
		return m.roots()
	}
}

func (l Login) jwt() (string, error) {
	m, err := l.Load()
	if err != nil {
		return "", err
	}
	return nkeys.ParseDecoratedJWT(m.Credentials)
}

func (l Login) sign(nonce []byte) ([]byte, error) {
	m, err := l.Load()
	if err != nil {
		return nil, err
	}
	return m.sign(nonce)
}

// user has no way to tell an error: without a name the server refuses, and the next attempt
// reads again.
func (l Login) user() (name, password string) {
	m, err := l.Load()
	if err != nil {
		return "", ""
	}
	return m.User, m.Password
}

// keyDialer dials as nats.go does, and lets a connection take a new nkey: nats.go reads the
// seed through a callback, but keeps the public key that belongs to it. It is set here, before
// each attempt: nats.go dials with its lock held, and reads the key with it.
type keyDialer struct {
	load   func() (Material, error)
	dialer net.Dialer
	conn   atomic.Pointer[nats.Conn]
}

// Dial connects to a server.
func (d *keyDialer) Dial(network, address string) (net.Conn, error) {
	if conn := d.conn.Load(); conn != nil {
		if m, err := d.load(); err == nil {
			if public, err := m.publicKey(); err == nil {
				conn.Opts.Nkey = public
			}
		}
	}
	return d.dialer.Dial(network, address)
}
