package connect_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/harness/pki"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/connect"
)

// credentials are one generation of them: the files of a client, and a server that takes no other.
type credentials struct {
	files  map[string][]byte
	server string
}

// kinds of credentials. Each call makes new ones; before are those that they replace.
func kinds(t *testing.T) map[string]func() credentials {
	seedOf := func() (seed []byte, public string) {
		pair, err := nkeys.CreateUser()
		must(t, err)
		seed, err = pair.Seed()
		must(t, err)
		public, err = pair.PublicKey()
		must(t, err)
		return seed, public
	}
	operator, err := nkeys.CreateOperator()
	must(t, err)
	operatorID, err := operator.PublicKey()
	must(t, err)
	// Its claims hold the second in which they were encoded, and a server that reloads takes no others.
	operatorJWT, err := jwt.NewOperatorClaims(operatorID).Encode(operator)
	must(t, err)
	generation := 0
	return map[string]func() credentials{
		"password": func() credentials {
			generation++
			password := fmt.Sprintf("marked-secret-%d", generation)
			return credentials{
				files:  map[string][]byte{"user": []byte("worker\n"), "password": []byte(password + "\n")},
				server: fmt.Sprintf("authorization {users = [{user: worker, password: %q}]}", password),
			}
		},
		"nkey": func() credentials {
			seed, public := seedOf()
			return credentials{files: map[string][]byte{"nkey": append(seed, '\n')}, server: fmt.Sprintf("authorization {users = [{nkey: %q}]}", public)}
		},
		"creds": func() credentials {
			account, err := nkeys.CreateAccount()
			must(t, err)
			accountID, _ := account.PublicKey()
			claims := jwt.NewAccountClaims(accountID)
			accountJWT, err := claims.Encode(operator)
			must(t, err)
			seed, public := seedOf()
			userJWT, err := jwt.NewUserClaims(public).Encode(account)
			must(t, err)
			creds, err := jwt.FormatUserConfig(userJWT, seed)
			must(t, err)
			return credentials{
				files:  map[string][]byte{"creds": creds},
				server: fmt.Sprintf("operator: %q\nresolver: MEMORY\nresolver_preload: {%s: %q}", operatorJWT, accountID, accountJWT),
			}
		},
		"TLS":                func() credentials { return tlsOf(t, false) },
		"client certificate": func() credentials { return tlsOf(t, true) },
	}
}

// tlsOf makes an authority, and a server with a certificate of it.
func tlsOf(t *testing.T, client bool) credentials {
	ca, err := pki.New("nats")
	must(t, err)
	server, err := ca.Server("127.0.0.1")
	must(t, err)
	dir := t.TempDir()
	block := "tls {\n"
	for name, content := range map[string][]byte{"ca_file": ca.PEM, "cert_file": server.Cert, "key_file": server.Key} {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, content, 0o600))
		block += fmt.Sprintf("  %s: %q\n", name, path)
	}
	c := credentials{files: map[string][]byte{"ca": ca.PEM}}
	if client {
		pair, err := ca.Client("worker")
		must(t, err)
		c.files["cert"], c.files["key"] = pair.Cert, pair.Key
		block += "  verify: true\n"
	}
	c.server = block + "}"
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write puts the files where a mounted Secret has them.
func (c credentials) write(t *testing.T, dir string) config.NATS {
	t.Helper()
	n := config.NATS{}
	for name, content := range c.files {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, content, 0o600))
		*map[string]*string{
			"user": &n.UserFile, "password": &n.PasswordFile, "nkey": &n.NKeyFile, "creds": &n.CredentialsFile,
			"ca": &n.CAFile, "cert": &n.CertFile, "key": &n.KeyFile,
		}[name] = path
	}
	return n
}

// TestRotation replaces the credentials of a connection while the server, which takes only the new ones,
// drops it: files first, and server first. The subscription goes on.
func TestRotation(t *testing.T) {
	for name, next := range kinds(t) {
		t.Run(name, func(t *testing.T) {
			first := next()
			server := harness.RunEmbeddedNATS(t, natsserver.Options{Config: first.server, NoJetStream: true})
			dir := t.TempDir()
			files := first.write(t, dir)
			conn, err := connect.NATS(server.URL(), login(files), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(),
				nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
			must(t, err)
			defer conn.Close()
			sub, err := conn.SubscribeSync("subject")
			must(t, err)
			wantEcho(t, conn, sub)

			for _, order := range []string{"files first", "server first"} {
				before := conn.Stats().Reconnects
				replaced := next()
				if order == "files first" {
					replaced.write(t, dir)
				}
				must(t, server.Reload(replaced.server))
				drop(t, server) // a reload does not end connections whose certificate is old
				if order == "server first" {
					time.Sleep(200 * time.Millisecond) // several attempts fail
					if conn.IsConnected() {
						t.Error("connected with credentials that were replaced")
					}
					replaced.write(t, dir)
				}
				harness.Eventually(t, 10*time.Second, func() error {
					if !conn.IsConnected() || conn.Stats().Reconnects == before {
						return errors.New("not connected again")
					}
					return nil
				})
				wantEcho(t, conn, sub)
			}
		})
	}
}

// drop ends all connections.
func drop(t *testing.T, server *natsserver.Embedded) {
	t.Helper()
	connections, err := server.Server.Connz(nil)
	must(t, err)
	for _, c := range connections.Conns {
		_ = server.Server.DisconnectClientByID(c.Cid) // it may be gone
	}
}

func login(n config.NATS) connect.Login {
	return connect.Login{Load: func() (connect.Material, error) { return connect.Files(n) }}
}

func wantEcho(t *testing.T, conn *nats.Conn, sub *nats.Subscription) {
	t.Helper()
	must(t, conn.Publish("subject", []byte("x")))
	if _, err := sub.NextMsg(5 * time.Second); err != nil {
		t.Fatal(err)
	}
}

// TestTheServerIsVerified: another authority, another name, and no TLS at all are refused.
func TestTheServerIsVerified(t *testing.T) {
	right, other := tlsOf(t, false), tlsOf(t, false)
	secured := harness.RunEmbeddedNATS(t, natsserver.Options{Config: right.server, NoJetStream: true})
	open := harness.RunEmbeddedNATS(t, natsserver.Options{NoJetStream: true})
	system := connect.Login{TLS: true, Load: func() (connect.Material, error) { return connect.Material{}, nil }}
	for name, c := range map[string]struct {
		url   string
		login connect.Login
		want  string
	}{
		"trusted":                   {secured.URL(), login(right.write(t, t.TempDir())), ""},
		"another authority":         {secured.URL(), login(other.write(t, t.TempDir())), "unknown authority"},
		"authorities of the system": {secured.URL(), system, "certificate"},
		"another name":              {strings.Replace(secured.URL(), "127.0.0.1", "localhost", 1), login(right.write(t, t.TempDir())), "localhost"},
		"without TLS":               {open.URL(), login(right.write(t, t.TempDir())), "secure connection not available"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := connect.NATS(c.url, c.login)
			if err == nil {
				conn.Close()
			}
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestWrongMaterial: errors name the file or what it lacks, and hold nothing of it.
func TestWrongMaterial(t *testing.T) {
	const secret = "marked-secret"
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, []byte(secret), 0o600))
	empty := filepath.Join(t.TempDir(), "empty")
	must(t, os.WriteFile(empty, []byte("\n"), 0o600))
	for name, c := range map[string]struct {
		files config.NATS
		want  string
	}{
		"no such file":   {config.NATS{CredentialsFile: "/nowhere/user.creds"}, "nats.credentialsFile: open /nowhere/user.creds"},
		"empty":          {config.NATS{UserFile: path, PasswordFile: empty}, "nats.passwordFile: " + empty + " is empty"},
		"no creds":       {config.NATS{CredentialsFile: path}, "holds no user JWT"},
		"no seed":        {config.NATS{NKeyFile: path}, "the nkey is no seed"},
		"no CA":          {config.NATS{CAFile: path}, "the CA holds no certificate"},
		"no certificate": {config.NATS{CertFile: path, KeyFile: path}, "the client certificate: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := connect.NATS("nats://127.0.0.1:1", login(c.files))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), secret) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestURLsHoldNoSecrets(t *testing.T) {
	for url, want := range map[string]string{
		"nats://a:4222,tls://b":        "",
		"nats://a,":                    "the url is empty",
		"nats://me:marked-secret@a":    "holds a user or password",
		"nats://marked-secret@a:4222":  "holds a user or password",
		"nats://me:marked%secret@a:42": "the url is malformed",
	} {
		err := connect.CheckURL(url)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "marked")) {
			t.Errorf("%s: got %v, want %q", url, err, want)
		}
	}
}

func TestFlagsThatContradict(t *testing.T) {
	const url = "nats://a"
	for name, c := range map[string]struct {
		n    config.NATS
		want string
	}{
		"nothing":             {config.NATS{}, ""},
		"one way":             {config.NATS{URL: url, NKeyFile: "x"}, ""},
		"two ways":            {config.NATS{URL: url, NKeyFile: "x", CredentialsFile: "y"}, "give one of them"},
		"no server":           {config.NATS{CAFile: "x"}, "--nats-url, which is missing"},
		"no password":         {config.NATS{URL: url, UserFile: "x"}, "give both or none"},
		"no key":              {config.NATS{URL: url, CertFile: "x"}, "--nats-cert and --nats-key: give both or none"},
		"password in the URL": {config.NATS{URL: "nats://a:b@c"}, "--nats-url: the url holds a user or password"},
	} {
		t.Run(name, func(t *testing.T) {
			err := connect.CheckFlags(c.n)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
