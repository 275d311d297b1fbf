package access

import (
	"bytes"
	"cmp"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/connect"
)

// fieldStageSecret names the Secret of a stage's own user.
const fieldStageSecret = "workers.natsSecretName" //nolint:gosec // the name of a field

// File is one key of a Secret or ConfigMap that a connection needs: the operator reads it, and
// workers have it mounted under Name.
type File struct {
	// Kind is Secret or ConfigMap.
	Kind v1alpha1.CAKind
	// Object and Key say which one.
	Object, Key string
	// Name of the file.
	Name string

	// field of the manifest that names it, and what to put under the key.
	field, holds string
	set          func(*connect.Material, []byte)
	name         func(*config.NATS, string)
}

// Files are those of a pipeline, as spec.nats says. stageSecret, if not empty, is the Secret of one
// stage's own user and stands in for credentialsSecretRef.
func Files(nats *v1alpha1.NATSSpec, stageSecret string) []File {
	if nats == nil {
		nats = &v1alpha1.NATSSpec{}
	}
	return append(userFiles(nats, stageSecret), tlsFiles(nats.TLS)...)
}

// Name writes the names of the files into the config of a worker.
func Name(files []File, to *config.NATS) {
	for _, f := range files {
		f.name(to, f.Name)
	}
}

func userFiles(nats *v1alpha1.NATSSpec, stageSecret string) []File {
	field, object, key := fieldStageSecret, stageSecret, ""
	if ref := nats.CredentialsSecretRef; ref != nil {
		key = ref.Key
		if stageSecret == "" {
			field, object = "spec.nats.credentialsSecretRef", ref.Name
		}
	}
	if object == "" {
		return nil
	}
	file := func(key, holds string) File {
		return File{Kind: v1alpha1.CASecret, Object: object, Key: key, Name: key, field: field, holds: holds}
	}
	switch nats.CredentialsType {
	case v1alpha1.CredentialsPassword:
		user, password := file("username", "the NATS user"), file("password", "its password")
		user.set = func(m *connect.Material, v []byte) { m.User = line(v) }
		user.name = func(n *config.NATS, file string) { n.UserFile = file }
		password.set = func(m *connect.Material, v []byte) { m.Password = line(v) }
		password.name = func(n *config.NATS, file string) { n.PasswordFile = file }
		return []File{user, password}
	case v1alpha1.CredentialsNKey:
		seed := file(cmp.Or(key, "user.nk"), "the seed of an nkey")
		seed.Name = "user.nk"
		seed.set = func(m *connect.Material, v []byte) { m.Seed = bytes.TrimSpace(v) }
		seed.name = func(n *config.NATS, file string) { n.NKeyFile = file }
		return []File{seed}
	default:
		creds := file(cmp.Or(key, "user.creds"), "the content of a .creds file")
		creds.Name = "user.creds"
		creds.set = func(m *connect.Material, v []byte) { m.Credentials = v }
		creds.name = func(n *config.NATS, file string) { n.CredentialsFile = file }
		return []File{creds}
	}
}

func tlsFiles(tls *v1alpha1.TLSSpec) []File {
	var files []File
	if tls == nil {
		return nil
	}
	if ca := tls.CA; ca != nil {
		files = append(files, File{
			Kind: cmp.Or(ca.Kind, v1alpha1.CASecret), Object: ca.Name, Key: cmp.Or(ca.Key, "ca.crt"), Name: "ca.crt",
			field: "spec.nats.tls.ca", holds: "certificates in PEM",
			set:  func(m *connect.Material, v []byte) { m.CA = v },
			name: func(n *config.NATS, file string) { n.CAFile = file },
		})
	}
	if tls.ClientSecretName == "" {
		return files
	}
	client := File{Kind: v1alpha1.CASecret, Object: tls.ClientSecretName, field: "spec.nats.tls.clientSecretName"}
	certificate, key := client, client
	certificate.Key, certificate.Name, certificate.holds = "tls.crt", "tls.crt", "the client's certificate in PEM"
	certificate.set = func(m *connect.Material, v []byte) { m.Certificate = v }
	certificate.name = func(n *config.NATS, file string) { n.CertFile = file }
	key.Key, key.Name, key.holds = "tls.key", "tls.key", "its key in PEM"
	key.set = func(m *connect.Material, v []byte) { m.Key = v }
	key.name = func(n *config.NATS, file string) { n.KeyFile = file }
	return append(files, certificate, key)
}

// line is a value without the newline that editors and echo end it with.
func line(v []byte) string { return string(bytes.TrimRight(v, "\r\n")) }
