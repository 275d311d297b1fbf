package access

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"millrace.dev/millrace/api/v1alpha1"
)

// Whoever may write Pipelines names a Secret and a server in them, and need not be allowed to read Secrets. Without a word of the
// Secret itself, they could have any of its namespace shown to a server of theirs, or mounted into an image of theirs. So a Secret says
// which servers it is for, in v1alpha1.AnnotationNATSURL.

// paired reports whether a Secret with this annotation is for all servers of a URL.
func paired(annotation, url string) bool {
	known := hosts(annotation)
	for _, host := range hosts(url) {
		if !slices.Contains(known, host) {
			return false
		}
	}
	return true
}

// hosts are the servers of a URL, or list of them, as host:port. What is malformed is left as it is.
func hosts(urls string) []string {
	var all []string
	for part := range strings.SplitSeq(urls, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		if !strings.Contains(part, "://") {
			part = "nats://" + part
		}
		u, err := url.Parse(part)
		if err != nil || u.Hostname() == "" {
			all = append(all, part)
			continue
		}
		port := map[string]string{"ws": "80", "wss": "443"}[u.Scheme]
		all = append(all, net.JoinHostPort(strings.ToLower(u.Hostname()), cmp.Or(u.Port(), port, "4222")))
	}
	return all
}

// unpaired says that a Secret is not for a server, and how to say that it is.
func unpaired(field string, secret types.NamespacedName, annotation, url string) error {
	said, flag, value := "does not say which NATS server it is for", "", url
	if known := hosts(annotation); len(known) > 0 {
		said = "is for " + strings.Join(known, ", ")
		flag, value = "--overwrite ", annotation+","+url
	}
	return &CredentialsError{NotForServer: true, Message: fmt.Sprintf(
		"%s: Secret %s in namespace %s %s, and is not sent to %s: if it is for that server as well, run kubectl annotate %s-n %s secret %s %s",
		field, secret.Name, secret.Namespace, said, strings.Join(hosts(url), ", "), flag, secret.Namespace, secret.Name,
		quote(v1alpha1.AnnotationNATSURL+"="+value))}
}

// quote makes one word of a text for a shell: people copy it, and others have written it.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// check is nil when a Secret is for a server; only its metadata is read.
func (r reader) check(ctx context.Context, field, secret, url string) error {
	from := source{kind: v1alpha1.CASecret, NamespacedName: types.NamespacedName{Namespace: r.namespace, Name: secret}}
	if known, ok := r.access.recall(from, r.keepFor); ok && paired(known.servers, url) {
		return nil
	}
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	if err := r.access.options.Objects.Get(ctx, from.NamespacedName, object); err != nil {
		return r.explain(err, File{Kind: from.kind, Object: secret, field: field})
	}
	annotation := object.Annotations[v1alpha1.AnnotationNATSURL]
	if !paired(annotation, url) {
		return unpaired(field, from.NamespacedName, annotation, url)
	}
	r.access.remember(from, content{servers: annotation})
	return nil
}
