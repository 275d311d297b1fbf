package config

import (
	"path/filepath"
	"strings"
)

// NATS says where a server is and which files a connection is secured with. They are read again
// at each connect. Of CredentialsFile, NKeyFile and UserFile at most one is set.
type NATS struct {
	// URL is one or more server URLs, separated by commas, without user and password.
	URL string `json:"url"`
	// JetStreamDomain is where JetStream is; empty = the server of URL has it itself.
	JetStreamDomain Domain `json:"jetStreamDomain,omitempty"`
	// CredentialsFile is the path of a .creds file.
	CredentialsFile string `json:"credentialsFile,omitempty"`
	// NKeyFile is the path of an nkey's seed.
	NKeyFile string `json:"nkeyFile,omitempty"`
	// UserFile and PasswordFile are set together.
	UserFile     string `json:"userFile,omitempty"`
	PasswordFile string `json:"passwordFile,omitempty"`
	// TLS demands TLS, whatever URL says; so does each of the files below.
	TLS bool `json:"tls,omitempty"`
	// TLSHandshakeFirst begins TLS before the greeting of the server, as its option handshake_first demands.
	TLSHandshakeFirst bool `json:"tlsHandshakeFirst,omitempty"`
	// CAFile has the certificates that sign the server's; empty = those of the system.
	CAFile string `json:"caFile,omitempty"`
	// CertFile and KeyFile are a client certificate; both are set or none.
	CertFile string `json:"certFile,omitempty"`
	KeyFile  string `json:"keyFile,omitempty"`
}

// In returns n with its files below dir, except those whose path is absolute. What starts a worker
// decides where files are mounted; its config names them.
func (n NATS) In(dir string) NATS {
	for _, path := range []*string{
		&n.CredentialsFile, &n.NKeyFile, &n.UserFile, &n.PasswordFile, &n.CAFile, &n.CertFile, &n.KeyFile,
	} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
	return n
}

// InboxPrefix starts the subjects that the workers of the stage listen on: the one
// subscription that their user has to be allowed is InboxPrefix and ".>". It is not the same for two
// stages, since whoever may subscribe to it reads what they read.
func (c *StageConfig) InboxPrefix() string {
	return InboxPrefix(c.Pipeline.Namespace, c.Pipeline.Name, c.Stage)
}

// InboxPrefix is one token of a subject that holds names, which have no underscore.
func InboxPrefix(names ...string) string {
	clean := strings.NewReplacer(".", "_", "*", "_", ">", "_", " ", "_")
	return "_INBOX_" + clean.Replace(strings.Join(names, "_"))
}

// CollectorBucket is the KV bucket of the collectors' checkpoints.
const CollectorBucket = "millrace-collect"

// CollectorInbox is the inbox prefix of a cluster's collector. No stage has it: a namespace is not empty.
func CollectorInbox(cluster string) string { return InboxPrefix("", "collect", cluster) }

// WakeSubject is where the workers of the stage tell each other that a lane is free, behind
// an inbox prefix.
func WakeSubject(inboxPrefix, bucket string) string { return inboxPrefix + ".lease." + bucket }

// StateBucket is the KV bucket in which the lanes of the stages that share a bucket of leases keep snapshots of their state. No
// namespace, which the name of another pipeline's bucket begins with, has capitals.
func StateBucket(leases string) string { return "STATE_" + leases }
