package node

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// volumeSync is how often mounted ConfigMaps, Secrets and tokens are compared
// with the API. The kubelet takes up to a minute.
const volumeSync = 500 * time.Millisecond

// volumes of one pod, below <pod>/volumes/<name>.
type volumes struct {
	pod     *pod
	written map[string]map[string]file
	tokens  map[string]token
}

func newVolumes(p *pod) *volumes {
	return &volumes{pod: p, written: map[string]map[string]file{}, tokens: map[string]token{}}
}

// path of a volume on the host.
func (v *volumes) path(name string) string {
	for _, volume := range v.pod.newest().Spec.Volumes {
		if volume.Name == name && volume.HostPath != nil {
			return volume.HostPath.Path
		}
	}
	return filepath.Join(v.pod.dir, "volumes", name)
}

// writable volumes get the folder of a subPath made for them.
func (v *volumes) writable(name string) bool {
	for _, volume := range v.pod.newest().Spec.Volumes {
		if volume.Name == name {
			return volume.EmptyDir != nil || volume.HostPath != nil
		}
	}
	return false
}

// sync brings all volumes up to date. Only one goroutine at a time calls it.
func (v *volumes) sync(ctx context.Context) error {
	for _, volume := range v.pod.newest().Spec.Volumes {
		if err := v.syncOne(ctx, &volume); err != nil {
			return fmt.Errorf("for volume %q : %w", volume.Name, err)
		}
	}
	return nil
}

// refresh keeps the volumes up to date until ctx ends. An object that went
// away leaves its last content, as with a kubelet.
func (v *volumes) refresh(ctx context.Context) {
	for sleep(ctx, volumeSync) {
		_ = v.sync(ctx)
	}
}

func (v *volumes) syncOne(ctx context.Context, volume *corev1.Volume) error {
	switch {
	case volume.EmptyDir != nil, volume.HostPath != nil:
		return os.MkdirAll(v.path(volume.Name), 0o755)
	}
	files, err := v.files(ctx, volume)
	if err != nil {
		return err
	}
	old, ok := v.written[volume.Name]
	if ok && maps.EqualFunc(old, files, func(a, b file) bool { return a.mode == b.mode && bytes.Equal(a.data, b.data) }) {
		return nil
	}
	if err := writeAtomically(v.path(volume.Name), files); err != nil {
		return err
	}
	v.written[volume.Name] = files
	return nil
}

// files that a volume should hold.
func (v *volumes) files(ctx context.Context, volume *corev1.Volume) (map[string]file, error) {
	switch {
	case volume.ConfigMap != nil:
		s := volume.ConfigMap
		return v.configMap(ctx, s.Name, s.Optional, s.Items, mode(s.DefaultMode, nil))
	case volume.Secret != nil:
		s := volume.Secret
		return v.secret(ctx, s.SecretName, s.Optional, s.Items, mode(s.DefaultMode, nil))
	case volume.DownwardAPI != nil:
		return v.downward(volume.DownwardAPI.Items, mode(volume.DownwardAPI.DefaultMode, nil))
	case volume.Projected != nil:
		files := map[string]file{}
		for i := range volume.Projected.Sources {
			key := fmt.Sprintf("%s/%d", volume.Name, i)
			part, err := v.projection(ctx, key, &volume.Projected.Sources[i], mode(volume.Projected.DefaultMode, nil))
			if err != nil {
				return nil, err
			}
			maps.Copy(files, part)
		}
		return files, nil
	default:
		return nil, fmt.Errorf("the node agent has no such kind of volume")
	}
}

func (v *volumes) projection(ctx context.Context, key string, s *corev1.VolumeProjection, mode fs.FileMode) (map[string]file, error) {
	switch {
	case s.ServiceAccountToken != nil:
		text, err := v.token(ctx, key, s.ServiceAccountToken)
		return map[string]file{s.ServiceAccountToken.Path: {[]byte(text), mode}}, err
	case s.ConfigMap != nil:
		return v.configMap(ctx, s.ConfigMap.Name, s.ConfigMap.Optional, s.ConfigMap.Items, mode)
	case s.Secret != nil:
		return v.secret(ctx, s.Secret.Name, s.Secret.Optional, s.Secret.Items, mode)
	case s.DownwardAPI != nil:
		return v.downward(s.DownwardAPI.Items, mode)
	default:
		return nil, fmt.Errorf("the node agent has no such kind of projection")
	}
}

func (v *volumes) configMap(ctx context.Context, name string, optional *bool, items []corev1.KeyToPath, m fs.FileMode) (map[string]file, error) {
	data, err := v.pod.agent.configMapData(ctx, v.pod.newest().Namespace, name, optional)
	if err != nil {
		return nil, err
	}
	return project(data, items, m, optional)
}

func (v *volumes) secret(ctx context.Context, name string, optional *bool, items []corev1.KeyToPath, m fs.FileMode) (map[string]file, error) {
	data, err := v.pod.agent.secretData(ctx, v.pod.newest().Namespace, name, optional)
	if err != nil {
		return nil, err
	}
	return project(data, items, m, optional)
}

// project picks keys and gives them paths; without items all keys are files.
func project(data map[string][]byte, items []corev1.KeyToPath, m fs.FileMode, optional *bool) (map[string]file, error) {
	files := map[string]file{}
	if len(items) == 0 {
		for key, value := range data {
			files[key] = file{value, m}
		}
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if ok {
			files[item.Path] = file{value, mode(item.Mode, &m)}
		} else if optional == nil || !*optional {
			return nil, fmt.Errorf("references non-existent config key: %s", item.Key)
		}
	}
	return files, nil
}

func (v *volumes) downward(items []corev1.DownwardAPIVolumeFile, m fs.FileMode) (map[string]file, error) {
	files := map[string]file{}
	for _, item := range items {
		var text string
		var err error
		if item.FieldRef != nil {
			text, err = v.pod.field(item.FieldRef.FieldPath)
		} else {
			text, err = v.pod.resourceField(nil, item.ResourceFieldRef)
		}
		if err != nil {
			return nil, err
		}
		files[item.Path] = file{[]byte(text), mode(item.Mode, &m)}
	}
	return files, nil
}

func mode(own *int32, inherited *fs.FileMode) fs.FileMode {
	switch {
	case own != nil:
		return fs.FileMode(*own).Perm()
	case inherited != nil:
		return *inherited
	default:
		return 0o644
	}
}
