package collect

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/connect"
	"millrace.dev/millrace/workers/config/usage"
)

// Flags are those that all collectors have.
type Flags struct {
	NATS    config.NATS
	Subject string
	Listen  string
}

// Add adds the flags to a command. The subject has a default.
func (f *Flags) Add(cmd *cobra.Command, subject string) {
	fs := cmd.Flags()
	fs.StringVar(&f.NATS.URL, "nats-url", nats.DefaultURL, "NATS server, or several separated by commas")
	connect.Flags(cmd, &f.NATS)
	fs.StringVar(&f.Subject, "subject", subject, "subject to publish on; it is the collector's alone")
	fs.StringVar(&f.Listen, "listen", "", "address of /metrics, /healthz and /readyz, such as :8080 (default none)")
}

// Check returns a usage error that names a wrong flag.
func (f *Flags) Check() error {
	switch {
	case f.Subject == "":
		return usage.Error{Err: errors.New("--subject is empty: name the subject to publish on, for example events.raw.kubernetes")}
	case strings.ContainsAny(f.Subject, "*> \t"):
		return usage.Error{Err: fmt.Errorf("--subject is %q: want one subject, without wildcards", f.Subject)}
	}
	if err := connect.CheckFlags(f.NATS); err != nil {
		return usage.Error{Err: err}
	}
	return nil
}
