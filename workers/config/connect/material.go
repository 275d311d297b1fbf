package connect

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/nats-io/nkeys"

	"millrace.dev/millrace/workers/config"
)

// Material is what a connection authenticates with, and whom it trusts. At most one of
// Credentials, Seed and User is set.
type Material struct {
	// CA are certificates in PEM that sign the server's; empty = those of the system.
	CA []byte
	// Certificate and Key are the client's, in PEM; both or none.
	Certificate, Key []byte
	// Credentials is the content of a .creds file.
	Credentials []byte
	// Seed is that of an nkey.
	Seed           []byte
	User, Password string
}

// Files reads the material that n names. Its errors name the member of n, never what a file holds.
func Files(n config.NATS) (Material, error) {
	var m Material
	var user, password []byte
	var errs []error
	for _, f := range []struct {
		member, path string
		to           *[]byte
	}{
		{"caFile", n.CAFile, &m.CA},
		{"certFile", n.CertFile, &m.Certificate},
		{"keyFile", n.KeyFile, &m.Key},
		{"credentialsFile", n.CredentialsFile, &m.Credentials},
		{"nkeyFile", n.NKeyFile, &m.Seed},
		{"userFile", n.UserFile, &user},
		{"passwordFile", n.PasswordFile, &password},
	} {
		if f.path == "" {
			continue
		}
		content, err := os.ReadFile(f.path)
		if err == nil && len(bytes.TrimSpace(content)) == 0 {
			err = fmt.Errorf("%s is empty", f.path)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("nats.%s: %w", f.member, err))
			continue
		}
		*f.to = content
	}
	m.Seed = bytes.TrimSpace(m.Seed)
	// Editors and echo end a file with a newline, which is no part of a name or a password.
	m.User, m.Password = string(bytes.TrimRight(user, "\r\n")), string(bytes.TrimRight(password, "\r\n"))
	return m, errors.Join(errs...)
}

// Check refuses material that no server could take. The error says what is wrong, without
// what it is.
func (m Material) Check() error {
	if len(m.Credentials) > 0 {
		// Without the lines around it, nkeys takes anything for a JWT.
		token, err := nkeys.ParseDecoratedJWT(m.Credentials)
		if err != nil || !strings.HasPrefix(strings.TrimSpace(token), "eyJ") {
			return errors.New("the .creds file holds no user JWT")
		}
		pair, err := nkeys.ParseDecoratedNKey(m.Credentials)
		if err != nil {
			return errors.New("the .creds file holds no seed")
		}
		pair.Wipe()
	}
	if len(m.Seed) > 0 {
		if _, err := m.publicKey(); err != nil {
			return err
		}
	}
	if len(m.CA) > 0 {
		if _, err := m.roots(); err != nil {
			return err
		}
	}
	if len(m.Certificate)+len(m.Key) > 0 {
		if _, err := m.pair(); err != nil {
			return err
		}
	}
	return nil
}

func (m Material) publicKey() (string, error) {
	pair, err := nkeys.FromSeed(m.Seed)
	if err != nil {
		return "", errors.New("the nkey is no seed: it starts with SU")
	}
	defer pair.Wipe()
	public, err := pair.PublicKey()
	if err != nil {
		return "", errors.New("the nkey has no public key")
	}
	return public, nil
}

func (m Material) sign(nonce []byte) ([]byte, error) {
	var pair nkeys.KeyPair
	var err error
	if len(m.Credentials) > 0 {
		pair, err = nkeys.ParseDecoratedNKey(m.Credentials)
	} else {
		pair, err = nkeys.FromSeed(m.Seed)
	}
	if err != nil {
		return nil, errors.New("the seed cannot be read")
	}
	defer pair.Wipe()
	return pair.Sign(nonce)
}

func (m Material) roots() (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(m.CA) {
		return nil, errors.New("the CA holds no certificate in PEM")
	}
	return pool, nil
}

func (m Material) pair() (tls.Certificate, error) {
	pair, err := tls.X509KeyPair(m.Certificate, m.Key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("the client certificate: %w", err)
	}
	return pair, nil
}
