package node

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// variables is a container's own environment, before rewriting.
type variables struct {
	order []string
	value map[string]string
}

func (v *variables) set(name, value string) {
	if _, ok := v.value[name]; !ok {
		v.order = append(v.order, name)
	}
	v.value[name] = value
}

var dollar = regexp.MustCompile(`\$\$|\$\(([^)]*)\)`)

// expand resolves $(NAME); an unknown name stays, $$ is a dollar sign.
func (v *variables) expand(text string) string {
	return dollar.ReplaceAllStringFunc(text, func(match string) string {
		if match == "$$" {
			return "$"
		}
		if value, ok := v.value[match[2:len(match)-1]]; ok {
			return value
		}
		return match
	})
}

// variables evaluates envFrom and env. An object or key that is missing and
// not optional is an error, which the kubelet calls
// CreateContainerConfigError.
func (c *container) variables(ctx context.Context) (*variables, error) {
	v := &variables{value: map[string]string{}}
	for _, source := range c.spec.EnvFrom {
		data, err := c.envFrom(ctx, source)
		if err != nil {
			return nil, err
		}
		for _, key := range slices.Sorted(maps.Keys(data)) {
			v.set(source.Prefix+key, data[key])
		}
	}
	for _, e := range c.spec.Env {
		if e.ValueFrom == nil {
			v.set(e.Name, v.expand(e.Value))
			continue
		}
		value, ok, err := c.valueFrom(ctx, e.ValueFrom)
		if err != nil {
			return nil, err
		}
		if ok {
			v.set(e.Name, value)
		}
	}
	return v, nil
}

func (c *container) envFrom(ctx context.Context, source corev1.EnvFromSource) (map[string]string, error) {
	namespace := c.pod.newest().Namespace
	switch {
	case source.ConfigMapRef != nil:
		data, err := c.pod.agent.configMapData(ctx, namespace, source.ConfigMapRef.Name, source.ConfigMapRef.Optional)
		return texts(data), err
	case source.SecretRef != nil:
		data, err := c.pod.agent.secretData(ctx, namespace, source.SecretRef.Name, source.SecretRef.Optional)
		return texts(data), err
	default:
		return nil, nil
	}
}

// valueFrom returns false for an optional value that is not there.
func (c *container) valueFrom(ctx context.Context, from *corev1.EnvVarSource) (string, bool, error) {
	object := c.pod.newest()
	switch {
	case from.FieldRef != nil:
		value, err := c.pod.field(from.FieldRef.FieldPath)
		return value, true, err
	case from.ResourceFieldRef != nil:
		value, err := c.pod.resourceField(c.spec, from.ResourceFieldRef)
		return value, true, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		data, err := c.pod.agent.configMapData(ctx, object.Namespace, ref.Name, ref.Optional)
		return pick(data, err, ref.Key, ref.Optional, "configmap", object.Namespace+"/"+ref.Name)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		data, err := c.pod.agent.secretData(ctx, object.Namespace, ref.Name, ref.Optional)
		return pick(data, err, ref.Key, ref.Optional, "secret", object.Namespace+"/"+ref.Name)
	default:
		return "", false, fmt.Errorf("unsupported valueFrom")
	}
}

func pick(data map[string][]byte, err error, key string, optional *bool, kind, name string) (string, bool, error) {
	if err != nil {
		return "", false, err
	}
	value, ok := data[key]
	if !ok && (optional == nil || !*optional) {
		return "", false, fmt.Errorf("couldn't find key %s in %s %s", key, kind, name)
	}
	return string(value), ok, nil
}

func texts(data map[string][]byte) map[string]string {
	result := map[string]string{}
	for key, value := range data {
		result[key] = string(value)
	}
	return result
}
