package node

import (
	"context"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// configMapData asks the watch, then the API, which may be ahead of it. A
// missing optional ConfigMap is empty.
func (a *Agent) configMapData(ctx context.Context, namespace, name string, optional *bool) (map[string][]byte, error) {
	object, err := a.configMaps.ConfigMaps(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		object, err = a.client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	}
	if err != nil {
		return nil, missing(err, "configmap", name, optional)
	}
	data := map[string][]byte{}
	for key, value := range object.Data {
		data[key] = []byte(value)
	}
	for key, value := range object.BinaryData {
		data[key] = value
	}
	return data, nil
}

// secretData is configMapData for Secrets.
func (a *Agent) secretData(ctx context.Context, namespace, name string, optional *bool) (map[string][]byte, error) {
	object, err := a.secrets.Secrets(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		object, err = a.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	}
	if err != nil {
		return nil, missing(err, "secret", name, optional)
	}
	return object.Data, nil
}

// missing gives an object that is not there the kubelet's words, and forgives
// it when it is optional.
func missing(err error, kind, name string, optional *bool) error {
	switch {
	case !apierrors.IsNotFound(err):
		return err
	case optional != nil && *optional:
		return nil
	default:
		return apierrors.NewNotFound(corev1.Resource(kind), name)
	}
}

// apiServer is the host and port that pods are told.
func (a *Agent) apiServer() (host, port string) {
	u, err := url.Parse(a.options.Config.Host)
	if err != nil {
		return "", ""
	}
	return u.Hostname(), u.Port()
}
