package collect

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

// In an account that demands a size the bucket has one, or the error says how to make it.
func TestBucketInAnAccountThatDemandsASize(t *testing.T) {
	for name, tc := range map[string]struct{ limits, want string }{
		"enough":    {"max_file: 3GiB, max_bytes_required: true", ""},
		"too small": {"max_file: 1MiB, max_bytes_required: true", "nats kv add millrace-collect --history=1 --storage=file --max-bucket-size="},
	} {
		t.Run(name, func(t *testing.T) {
			server := harness.RunEmbeddedNATS(t, natsserver.Options{Config: `
accounts { A { jetstream { ` + tc.limits + ` }, users: [{user: u, password: p}] } }`})
			connection, err := nats.Connect(strings.Replace(server.URL(), "nats://", "nats://u:p@", 1))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(connection.Close)
			js, err := jetstream.New(connection)
			if err != nil {
				t.Fatal(err)
			}
			kv, err := OpenBucket(t.Context(), js, "millrace-collect")
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Fatalf("got %v, want %q", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			status, err := kv.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := status.Config().MaxBytes; got != BucketBytes {
				t.Errorf("size: got %d, want %d", got, BucketBytes)
			}
		})
	}
}
