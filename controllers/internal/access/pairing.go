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
	return &CredentialsError{Reason: v1alpha1.ReasonCredentialsNotForServer, Message: fmt.Sprintf(
		"%s: Secret %s in namespace %s %s, and is not sent to %s: if it is for that server as well, run kubectl annotate %s-n %s secret %s %s",
		field, secret.Name, secret.Namespace, said, strings.Join(hosts(url), ", "), flag, secret.Namespace, secret.Name,
		quote(v1alpha1.AnnotationNATSURL+"="+value))}
}

// quote makes one word of a text for a shell: people copy it, and others have written it.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// check is nil when a Secret is for a server; only its metadata is read.
func (r reader) check(ctx context.Context, field, secret, url string) error {
	said, err := r.annotated(ctx, field, secret, func(c content) bool { return paired(c.servers, url) })
	if err == nil && !paired(said.servers, url) {
		return unpaired(field, types.NamespacedName{Namespace: r.namespace, Name: secret}, said.servers, url)
	}
	return err
}

// checkMounted is nil when a Secret is for a Pipeline; only its metadata is read.
func (r reader) checkMounted(ctx context.Context, secret, pipeline string) error {
	isFor := func(c content) bool {
		for name := range strings.SplitSeq(c.pipelines, ",") {
			if name = strings.TrimSpace(name); name == pipeline || name == "*" {
				return true
			}
		}
		return false
	}
	said, err := r.annotated(ctx, "the stage", secret, isFor)
	if err != nil || isFor(said) {
		return err
	}
	what, flag, value := "does not say which Pipelines it is for", "", pipeline
	if said.pipelines != "" {
		what, flag, value = "is for Pipelines "+said.pipelines, "--overwrite ", said.pipelines+","+pipeline
	}
	return &CredentialsError{Reason: v1alpha1.ReasonSecretNotForPipeline, Message: fmt.Sprintf(
		"Secret %s in namespace %s %s, and is mounted into no worker of %s: if it is for that one as well, run kubectl annotate %s-n %s secret %s %s",
		secret, r.namespace, what, pipeline, flag, r.namespace, secret, quote(v1alpha1.AnnotationPipelines+"="+value))}
}

// annotated reads what a Secret says of itself; what is known of it is enough where it suffices.
func (r reader) annotated(ctx context.Context, field, secret string, suffices func(content) bool) (content, error) {
	from := source{kind: v1alpha1.CASecret, NamespacedName: types.NamespacedName{Namespace: r.namespace, Name: secret}}
	if known, ok := r.access.recall(from, r.keepFor); ok && suffices(known) {
		return known, nil
	}
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	if err := r.access.options.Objects.Get(ctx, from.NamespacedName, object); err != nil {
		return content{}, r.explain(err, File{Kind: from.kind, Object: secret, field: field})
	}
	said := content{servers: object.Annotations[v1alpha1.AnnotationNATSURL], pipelines: object.Annotations[v1alpha1.AnnotationPipelines]}
	if suffices(said) {
		r.access.remember(from, said)
	}
	return said, nil
}
