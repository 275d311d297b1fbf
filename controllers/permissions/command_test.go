package permissions_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"millrace.dev/millrace/controllers/permissions"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/test/golden"
)

const samples = "../../config/samples/"

func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := permissions.Command()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestGolden(t *testing.T) {
	for file, args := range map[string][]string{
		"observability.conf": {"-f", samples + "observability.yaml"},
		"domain.json":        {"-f", samples + "minimal.yaml", "--format", "json", "--nats-jetstream-domain", "hub"},
		"console.json":       {"-f", samples + "minimal.yaml", "--format", "json", "--console", "edit"},
		"chained.sh":         {"-f", samples + "chained.yaml", "--format", "nsc"},
		"minimal.json":       {"-f", samples + "minimal.yaml", "--format", "json", "--collector-subject", "default.minimal.raw.east", "--cluster", "east"},
	} {
		t.Run(file, func(t *testing.T) {
			got, err := run(t, args...)
			if err != nil {
				t.Fatal(err)
			}
			golden.Check(t, filepath.Join("testdata", file), got)
		})
	}
}

// TestTheServerTakesIt: a NATS server reads from the printed configuration what JSON says of the users.
func TestTheServerTakesIt(t *testing.T) {
	for _, auth := range []string{"password", "nkey"} {
		t.Run(auth, func(t *testing.T) {
			printed, err := run(t, "-f", samples, "--auth", auth)
			if err != nil {
				t.Fatal(err)
			}
			text, err := run(t, "-f", samples, "--format", "json")
			if err != nil {
				t.Fatal(err)
			}
			var want struct{ Users []plan.User }
			if err := json.Unmarshal([]byte(text), &want); err != nil {
				t.Fatal(err)
			}
			keys := map[string]string{} // of users, by their public key
			for _, u := range want.Users {
				value := "pw-" + u.Name
				if auth == "nkey" {
					value = publicKey(t)
				}
				keys[value] = u.Name
				t.Setenv(permissions.Variable(u.Name, auth), value)
			}
			got := map[string]*server.Permissions{}
			options := parse(t, printed)
			for _, u := range options.Users {
				if u.Password != "pw-"+u.Username {
					t.Errorf("user %s has the password %s", u.Username, u.Password)
				}
				got[u.Username] = u.Permissions
			}
			for _, u := range options.Nkeys {
				got[keys[u.Nkey]] = u.Permissions
			}
			if len(got) != len(want.Users) || len(got) < 10 {
				t.Errorf("got %d users, want %d, and those of all samples", len(got), len(want.Users))
			}
			for _, u := range want.Users {
				p := got[u.Name]
				if p == nil || p.Publish == nil || p.Subscribe == nil || p.Response != nil {
					t.Errorf("user %s: got permissions %+v", u.Name, p)
					continue
				}
				if diff := cmp.Diff(u.Publish, p.Publish.Allow); diff != "" {
					t.Errorf("user %s publishes (-want +got):\n%s", u.Name, diff)
				}
				if diff := cmp.Diff(u.Subscribe, p.Subscribe.Allow); diff != "" {
					t.Errorf("user %s subscribes (-want +got):\n%s", u.Name, diff)
				}
			}
		})
	}
}

func publicKey(t *testing.T) string {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	key, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func parse(t *testing.T, config string) *server.Options {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	options, err := server.ProcessConfigFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return options
}

func TestWrongUse(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
		code int
	}{
		"no file":         {[]string{}, "nats-permissions needs -f", 2},
		"unknown format":  {[]string{"-f", samples, "--format", "yaml"}, `--format is "yaml": use nats, nsc or json`, 2},
		"unknown console": {[]string{"-f", samples, "--console", "on"}, `--console is "on": use view, edit or nothing`, 2},
		"unknown auth":    {[]string{"-f", samples, "--auth", "token"}, `--auth is "token": use password or nkey`, 2},
		"no such file":    {[]string{"-f", "/nowhere"}, "read the manifest", 1},
		"no pipeline":     {[]string{"-f", "../../config/network-policy/workers.yaml"}, "holds no Pipeline", 1},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := run(t, c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			code := 1
			var coded interface{ ExitCode() int }
			if errors.As(err, &coded) {
				code = coded.ExitCode()
			}
			if code != c.code {
				t.Errorf("exit code: got %d, want %d", code, c.code)
			}
		})
	}
}
