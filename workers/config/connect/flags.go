package connect

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"millrace.dev/millrace/workers/config"
)

// Flags adds to a command how to authenticate with NATS at --nats-url, and whom to trust; a URL such as
// tls://nats:4222 demands TLS by itself. Files are read again at each
// connect and reconnect.
func Flags(cmd *cobra.Command, n *config.NATS) { FlagsFor(cmd, n, urlFlag) }

// urlFlag names the server, but in commands that call it otherwise.
const urlFlag = "nats-url"

// FlagsFor is Flags for a command where another flag has the URL.
func FlagsFor(cmd *cobra.Command, n *config.NATS, flag string) {
	f, url := cmd.Flags(), "--"+flag
	DomainFlag(cmd, &n.JetStreamDomain, "JetStream `domain` that the server at "+url+" reaches, as through a leaf node; default its own JetStream")
	f.StringVar(&n.CredentialsFile, "nats-credentials", n.CredentialsFile, ".creds `file` for "+url)
	f.StringVar(&n.NKeyFile, "nats-nkey", n.NKeyFile, "`file` with the seed of an nkey for "+url)
	f.StringVar(&n.UserFile, "nats-user", n.UserFile, "`file` with a user name for "+url+"; needs --nats-password")
	f.StringVar(&n.PasswordFile, "nats-password", n.PasswordFile, "`file` with the password of --nats-user")
	f.StringVar(&n.CAFile, "nats-ca", n.CAFile, "`file` with CA certificates that sign the server's; default those of the system")
	f.BoolVar(&n.TLSHandshakeFirst, "nats-tls-handshake-first", n.TLSHandshakeFirst,
		"begin TLS before the greeting of the server at "+url+", as its option handshake_first demands")
	f.StringVar(&n.CertFile, "nats-cert", n.CertFile, "`file` with a client certificate; needs --nats-key")
	f.StringVar(&n.KeyFile, "nats-key", n.KeyFile, "`file` with the key of --nats-cert")
}

// DomainFlag adds --nats-jetstream-domain to a command.
func DomainFlag(cmd *cobra.Command, d *config.Domain, usage string) {
	cmd.Flags().StringVar((*string)(d), domainFlag, string(*d), usage)
}

const domainFlag = "nats-jetstream-domain"

// CheckFlags refuses flags that contradict each other.
func CheckFlags(n config.NATS) error { return CheckFlagsFor(n, urlFlag) }

// CheckFlagsFor is CheckFlags for a command where another flag has the URL.
func CheckFlagsFor(n config.NATS, flag string) error {
	ways := 0
	for _, file := range []string{n.CredentialsFile, n.NKeyFile, n.UserFile} {
		if file != "" {
			ways++
		}
	}
	files := n != config.NATS{URL: n.URL}
	switch {
	case files && n.URL == "":
		return fmt.Errorf("--nats-credentials and the like are for the server of --%s, which is missing", flag)
	case ways > 1:
		return errors.New("--nats-credentials, --nats-nkey and --nats-user: give one of them")
	case (n.UserFile == "") != (n.PasswordFile == ""):
		return errors.New("--nats-user and --nats-password: give both or none")
	case (n.CertFile == "") != (n.KeyFile == ""):
		return errors.New("--nats-cert and --nats-key: give both or none")
	case n.URL == "":
		return nil
	}
	if err := n.JetStreamDomain.Check(); err != nil {
		return fmt.Errorf("--%s: %w", domainFlag, err)
	}
	if err := CheckURL(n.URL); err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	return nil
}
