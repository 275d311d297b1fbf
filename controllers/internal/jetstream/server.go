package jetstream

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/connect"
)

// Server says where NATS is and as whom to connect.
type Server struct {
	// URL is one or more server URLs, separated by commas.
	URL string
	// Domain is where JetStream is; empty = the server has it itself.
	Domain config.Domain
	// TLS demands TLS, whatever URL says.
	TLS bool
	// HandshakeFirst begins TLS before the greeting of the server.
	HandshakeFirst bool
	// Material is what Secrets hold; it is used as it is, and another one makes another connection.
	Material connect.Material
	// Files, if any is named, are read again at each reconnect, instead of Material.
	Files config.NATS
	// InProcess is a server in this process; it needs a URL too, which is not connected to.
	InProcess InProcess
}

// InProcess is a NATS server that is embedded in this process.
type InProcess interface {
	InProcessConn() (net.Conn, error)
}

// Redacted is the URL without users and passwords, fit for a message.
func (s Server) Redacted() string {
	parts := s.urls()
	for i, part := range parts {
		u, err := url.Parse(part)
		if err != nil {
			parts[i] = "(a malformed URL)"
			continue
		}
		u.User = nil
		parts[i] = u.String()
	}
	return strings.Join(parts, ",")
}

// Same says whether both are one connection.
func (s Server) Same(other Server) bool { return s.key() == other.key() }

// key tells connections apart without holding the secrets themselves. It is asked for at each
// reconcile.
func (s Server) key() string {
	var b []byte
	m, f := s.Material, s.Files
	for _, part := range []string{
		s.URL, string(s.Domain), strconv.FormatBool(s.TLS), strconv.FormatBool(s.HandshakeFirst), string(m.CA), string(m.Certificate), string(m.Key),
		string(m.Credentials), string(m.Seed), m.User, m.Password,
		f.URL, f.CredentialsFile, f.NKeyFile, f.UserFile, f.PasswordFile, strconv.FormatBool(f.TLS), strconv.FormatBool(f.TLSHandshakeFirst), f.CAFile, f.CertFile, f.KeyFile,
	} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	if s.InProcess != nil {
		b = fmt.Appendf(b, "%p", s.InProcess)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func (s Server) urls() []string {
	parts := strings.Split(s.URL, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// login is how to connect.
func (s Server) login(timeout time.Duration) connect.Login {
	l := connect.Login{TLS: s.TLS, HandshakeFirst: s.HandshakeFirst, Timeout: timeout, Load: func() (connect.Material, error) { return s.Material, nil }}
	if s.Files != (config.NATS{}) {
		l.TLS, l.HandshakeFirst = l.TLS || s.Files.TLS, l.HandshakeFirst || s.Files.TLSHandshakeFirst
		l.Load = func() (connect.Material, error) { return connect.Files(s.Files) }
	}
	return l
}
