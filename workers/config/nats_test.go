package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/workers/config"
)

func TestFilesOfNATSAreBelowAFolder(t *testing.T) {
	n := config.NATS{
		URL: "nats://a", CredentialsFile: "c", NKeyFile: "n", UserFile: "u", PasswordFile: "p",
		TLS: true, CAFile: "ca", CertFile: "cert", KeyFile: "/etc/key",
	}
	want := config.NATS{
		URL: "nats://a", CredentialsFile: "/d/c", NKeyFile: "/d/n", UserFile: "/d/u", PasswordFile: "/d/p",
		TLS: true, CAFile: "/d/ca", CertFile: "/d/cert", KeyFile: "/etc/key",
	}
	if diff := cmp.Diff(want, n.In("/d")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := (config.NATS{URL: "nats://a"}).In("/d"); got != (config.NATS{URL: "nats://a"}) {
		t.Errorf("got %+v, want no files", got)
	}
}

// TestInboxesDiffer: whoever may listen on the inbox of another stage reads what that one reads.
func TestInboxesDiffer(t *testing.T) {
	of := func(namespace, pipeline, stage string) string {
		c := config.StageConfig{Pipeline: config.PipelineRef{Namespace: namespace, Name: pipeline}, Stage: stage}
		return c.InboxPrefix()
	}
	seen := map[string]bool{}
	for _, prefix := range []string{
		of("a", "b", "c"), of("a", "b", "d"), of("a", "b-c", "d"), of("a-b", "c", "d"), of("a", "b", "c-d"),
		config.CollectorInbox("b_c"), config.CollectorInbox("b"), of("collect", "b", "c"),
	} {
		if seen[prefix] {
			t.Errorf("%s is the inbox of two", prefix)
		}
		seen[prefix] = true
		if strings.ContainsAny(prefix, ".*> ") || !strings.HasPrefix(prefix, "_INBOX_") {
			t.Errorf("%q is not one token", prefix)
		}
	}
	if got := config.CollectorInbox("a.b*>"); strings.ContainsAny(got, ".*>") {
		t.Errorf("got %s, want one token", got)
	}
}
