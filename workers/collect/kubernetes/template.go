package kubernetes

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/s2"
	corev1 "k8s.io/api/core/v1"
)

// template is what the specification of a workload says, field by field and sorted: "container app: image"
// is registry.test/app:1. It names what changes. Values that may be secret are hashes.
type template []templateField

type templateField struct {
	path, value string
	// hidden says that value is a hash.
	hidden bool
}

// maxShown bounds a value that is shown, in bytes.
const maxShown = 100

// templateOf reads the fields of a workload.
func templateOf(w *workload) template {
	t := &template{}
	if rest, ok := plain(w.rest).(map[string]any); ok {
		t.walk("", rest)
	}
	if !w.fixed {
		t.pods(w.template)
	}
	slices.SortFunc(*t, func(a, b templateField) int { return strings.Compare(a.path, b.path) })
	return *t
}

// plain is a value as JSON has it.
func plain(v any) any {
	text, err := json.Marshal(v)
	if err != nil {
		return nil // objects of the API always encode
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		return nil
	}
	return out
}

// pods reads the template of the pods.
func (t *template) pods(pods *corev1.PodTemplateSpec) {
	for key, value := range pods.Labels {
		t.add("label "+key, value, false)
	}
	for key, value := range pods.Annotations {
		t.add("annotation "+key, value, true)
	}
	spec, ok := plain(pods.Spec).(map[string]any)
	if !ok {
		return
	}
	for key, prefix := range map[string]string{"containers": "container ", "initContainers": "init container ", "volumes": "volume "} {
		list, _ := spec[key].([]any)
		delete(spec, key)
		for _, element := range list {
			object, ok := element.(map[string]any)
			if !ok {
				continue
			}
			name, _ := object["name"].(string)
			delete(object, "name")
			t.container(prefix+name+": ", object)
		}
	}
	t.walk("", spec)
}

// container reads a container or a volume, whose parts have names of their own.
func (t *template) container(prefix string, object map[string]any) {
	t.add(prefix, "", true) // an object without fields is there, too
	if resources, ok := object["resources"].(map[string]any); ok {
		delete(object, "resources")
		t.walk(prefix, resources)
	}
	for list, key := range map[string]string{"env": "name", "volumeMounts": "mountPath"} {
		elements, _ := object[list].([]any)
		delete(object, list)
		for _, element := range elements {
			parts, ok := element.(map[string]any)
			if !ok {
				continue
			}
			name, _ := parts[key].(string)
			delete(parts, key)
			text, _ := json.Marshal(parts) // it was JSON before
			t.add(prefix+strings.ToLower(strings.TrimPrefix(strings.TrimSuffix(list, "s"), "volume"))+" "+name, string(text), list == "env")
		}
	}
	t.walk(prefix, object)
}

// walk reads what is below a path.
func (t *template) walk(path string, v any) {
	switch v := v.(type) {
	case nil:
	case map[string]any:
		if len(v) == 0 && path != "" && !strings.HasSuffix(path, ": ") {
			t.add(path, "{}", false)
		}
		for key, value := range v {
			switch {
			case key == "template": // it is read by itself
			case path == "" || strings.HasSuffix(path, ": "):
				t.walk(path+key, value)
			default:
				t.walk(path+"."+key, value)
			}
		}
	case string:
		t.add(path, v, secret(path, v))
	case float64:
		t.add(path, strconv.FormatFloat(v, 'f', -1, 64), false)
	default:
		text, _ := json.Marshal(v) // it was JSON before
		t.add(path, string(text), secret(path, ""))
	}
}

// secret tells whether a value may be one that is nobody's business.
func secret(path, value string) bool {
	for part := range strings.SplitSeq(path, ".") {
		part = part[strings.LastIndexByte(part, ' ')+1:]
		switch part {
		case "command", "args", "value", "httpHeaders", "volumeAttributes", "options":
			return true
		}
	}
	return strings.Contains(value, "?") || strings.Contains(value, "@") && !strings.HasSuffix(path, ": image")
}

func (t *template) add(path, value string, hidden bool) {
	path = strings.ReplaceAll(text(path, maxName), "\n", " ")
	if hidden || len(value) > maxShown && !strings.HasSuffix(path, ": image") || strings.ContainsAny(value, "\n\x00") {
		*t = append(*t, templateField{path, hash(value), true})
		return
	}
	*t = append(*t, templateField{path, text(value, maxName), false})
}

// isImage and isRestart tell fields that have event types of their own.
func isImage(path string) bool { return strings.HasSuffix(path, ": image") }

// isRestart tells annotations that are there to restart pods, such as kubectl.kubernetes.io/restartedAt.
func isRestart(path string) bool {
	key, ok := strings.CutPrefix(path, "annotation ")
	key = strings.ToLower(key[strings.LastIndexByte(key, '/')+1:])
	return ok && (strings.Contains(key, "restart") || key == "rollme")
}

// hashes are those of the restart annotations, and of what is neither one of them nor an image.
func (t template) hashes() (rest, restart string) {
	var r, s strings.Builder
	for _, f := range t {
		to := &r
		switch {
		case isImage(f.path):
			continue
		case isRestart(f.path):
			to = &s
		}
		to.WriteString(f.path + "\x00" + f.value + "\n")
	}
	return hash(r.String()), hash(s.String())
}

// templates are the templates of workloads by uid, packed: most of a template is the same for all.
type templates map[string]packedTemplate

type packedTemplate []byte

func (t template) pack() packedTemplate {
	var b strings.Builder
	for _, f := range t {
		shown := "v"
		if f.hidden {
			shown = "h"
		}
		b.WriteString(f.path + "\x00" + shown + f.value + "\n")
	}
	return slices.Clip(s2.EncodeBetter(nil, []byte(b.String())))
}

func (p packedTemplate) unpack() template {
	body, err := s2.Decode(nil, p)
	if err != nil {
		return nil // we packed it
	}
	var t template
	for line := range strings.SplitSeq(string(body), "\n") {
		if path, value, ok := strings.Cut(line, "\x00"); ok {
			t = append(t, templateField{path, value[1:], value[0] == 'h'})
		}
	}
	return t
}
