package node

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/rest"
)

// Options of an agent. Config is required.
type Options struct {
	// Config of an administrator. A node's own identity would do, but the
	// Node authorizer lags behind the scheduler's binding.
	Config *rest.Config
	// Nodes to serve. Default 1.
	Nodes int
	// NamePrefix of the nodes, which are numbered from 1. Default "node".
	NamePrefix string
	// Capacity of each node. Default: 1000 CPUs, 4 TiB, 1000 pods.
	Capacity corev1.ResourceList

	// Images maps an image to the host command that is its entrypoint. The
	// key is the full reference or the repository alone, which stands for
	// all tags and digests.
	Images map[string][]string
	// Resolve is asked for images that Images does not have. An image that
	// nobody knows ends in ErrImagePull.
	Resolve func(image string) (entrypoint []string, ok bool)
	// Env is given to every container, below its own.
	Env []string

	// BackOff is the delay before the second restart of a crashing
	// container (the first is immediate) and before the first retry of an
	// image; it doubles up to MaxBackOff. Defaults 1 s and 30 s: a tenth of
	// the kubelet's.
	BackOff, MaxBackOff time.Duration

	// Dir holds pod folders and logs. Default: a new temporary folder,
	// removed by Stop.
	Dir string
}

func (o *Options) setDefaults() error {
	if o.Config == nil {
		return errors.New("node agent: Config is required")
	}
	if o.Nodes == 0 {
		o.Nodes = 1
	}
	if o.NamePrefix == "" {
		o.NamePrefix = "node"
	}
	if o.Capacity == nil {
		o.Capacity = corev1.ResourceList{
			corev1.ResourceCPU:              resource.MustParse("1000"),
			corev1.ResourceMemory:           resource.MustParse("4Ti"),
			corev1.ResourceEphemeralStorage: resource.MustParse("4Ti"),
			corev1.ResourcePods:             resource.MustParse("1000"),
		}
	}
	if o.BackOff == 0 {
		o.BackOff = time.Second
	}
	if o.MaxBackOff == 0 {
		o.MaxBackOff = 30 * o.BackOff
	}
	return nil
}

// entrypoint of an image, or an error as a registry would give it.
func (o *Options) entrypoint(image string) ([]string, error) {
	for _, key := range []string{image, repository(image)} {
		if entrypoint, ok := o.Images[key]; ok {
			return entrypoint, nil
		}
	}
	if o.Resolve != nil {
		if entrypoint, ok := o.Resolve(image); ok {
			return entrypoint, nil
		}
	}
	return nil, fmt.Errorf("rpc error: code = NotFound desc = failed to pull and unpack image %[1]q: failed to resolve reference %[1]q: %[1]s: not found", image)
}

// repository strips the digest and the tag of an image reference.
func repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	dir, base := path.Split(image) // the port of a registry also has a colon
	base, _, _ = strings.Cut(base, ":")
	return dir + base
}
