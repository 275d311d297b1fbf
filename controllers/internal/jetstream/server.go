package jetstream

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"

	"github.com/nats-io/nats.go"
)

// Server says where NATS is and as whom to connect.
type Server struct {
	// URL is one or more server URLs, separated by commas.
	URL string
	// Credentials is the content of a .creds file; nil connects without.
	Credentials []byte
	// CredentialsFile is the path of a .creds file; it is read again at each reconnect.
	CredentialsFile string
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

// key tells connections apart without holding the secrets themselves. It is asked for at each
// reconcile.
func (s Server) key() string {
	var b []byte
	for _, part := range []string{s.URL, string(s.Credentials), s.CredentialsFile} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
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

func (s Server) credentials() []nats.Option {
	switch {
	case len(s.Credentials) > 0:
		return []nats.Option{nats.UserCredentialBytes(s.Credentials)}
	case s.CredentialsFile != "":
		return []nats.Option{nats.UserCredentials(s.CredentialsFile)}
	default:
		return nil
	}
}

// check refuses a URL that nats.go would quote in its error, password and all.
func (s Server) check() error {
	for _, part := range s.urls() {
		if part == "" {
			return fmt.Errorf("the url is empty")
		}
		if _, err := url.Parse(part); err != nil {
			return fmt.Errorf("the url is malformed")
		}
	}
	return nil
}
