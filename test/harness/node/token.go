package node

import (
	"context"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// token of a service account, bound to the pod.
type token struct {
	text  string
	renew time.Time
}

// token requests a token at first and again after four fifths of its life.
func (v *volumes) token(ctx context.Context, key string, source *corev1.ServiceAccountTokenProjection) (string, error) {
	if t, ok := v.tokens[key]; ok && time.Now().Before(t.renew) {
		return t.text, nil
	}
	object := v.pod.newest()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: source.ExpirationSeconds,
		BoundObjectRef: &authenticationv1.BoundObjectReference{
			APIVersion: "v1", Kind: "Pod", Name: object.Name, UID: object.UID,
		},
	}}
	if source.Audience != "" {
		request.Spec.Audiences = []string{source.Audience}
	}
	answer, err := v.pod.agent.client.CoreV1().ServiceAccounts(object.Namespace).
		CreateToken(ctx, object.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	life := time.Until(answer.Status.ExpirationTimestamp.Time)
	t := token{text: answer.Status.Token, renew: time.Now().Add(life * 4 / 5)}
	v.tokens[key] = t
	return t.text, nil
}

// kubeconfig writes the file that stands for the in-cluster configuration of
// a container and returns its path, or nothing when the container mounts no
// token for the API server.
func (v *volumes) kubeconfig(spec *corev1.Container) string {
	tokenFile := v.tokenFile(spec)
	if tokenFile == "" {
		return ""
	}
	const name = "in-cluster"
	config := v.pod.agent.options.Config
	file := api.NewConfig()
	file.Clusters[name] = &api.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	file.AuthInfos[name] = &api.AuthInfo{TokenFile: tokenFile}
	file.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name, Namespace: v.pod.newest().Namespace}
	file.CurrentContext = name
	path := filepath.Join(v.pod.dir, spec.Name+".kubeconfig")
	if err := clientcmd.WriteToFile(*file, path); err != nil {
		_ = os.Remove(path)
		return ""
	}
	return path
}

// tokenFile is where the container finds its token for the API server.
func (v *volumes) tokenFile(spec *corev1.Container) string {
	for _, mount := range spec.VolumeMounts {
		for _, volume := range v.pod.newest().Spec.Volumes {
			if volume.Name != mount.Name || volume.Projected == nil {
				continue
			}
			for _, source := range volume.Projected.Sources {
				if t := source.ServiceAccountToken; t != nil && t.Audience == "" {
					return filepath.Join(v.path(volume.Name), t.Path)
				}
			}
		}
	}
	return ""
}
