package node

import (
	"context"
	"net/url"

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
		return nil, unlessOptional(err, optional)
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
		return nil, unlessOptional(err, optional)
	}
	return object.Data, nil
}

func unlessOptional(err error, optional *bool) error {
	if optional != nil && *optional && apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// apiServer is the host and port that pods are told.
func (a *Agent) apiServer() (host, port string) {
	u, err := url.Parse(a.options.Config.Host)
	if err != nil {
		return "", ""
	}
	return u.Hostname(), u.Port()
}
