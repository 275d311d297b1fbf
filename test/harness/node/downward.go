package node

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

var subscript = regexp.MustCompile(`^metadata\.(labels|annotations)\['(.*)'\]$`)

// field is the downward API.
func (p *pod) field(path string) (string, error) {
	o := p.newest()
	if match := subscript.FindStringSubmatch(path); match != nil {
		if match[1] == "labels" {
			return o.Labels[match[2]], nil
		}
		return o.Annotations[match[2]], nil
	}
	switch path {
	case "metadata.name":
		return o.Name, nil
	case "metadata.namespace":
		return o.Namespace, nil
	case "metadata.uid":
		return string(o.UID), nil
	case "metadata.labels":
		return formatMap(o.Labels), nil
	case "metadata.annotations":
		return formatMap(o.Annotations), nil
	case "spec.nodeName":
		return o.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return o.Spec.ServiceAccountName, nil
	case "status.podIP", "status.podIPs":
		return p.ip, nil
	case "status.hostIP", "status.hostIPs":
		return p.agent.addresses.nodeAddress(), nil
	default:
		return "", fmt.Errorf("unsupported fieldPath: %s", path)
	}
}

func formatMap(m map[string]string) string {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, key+"="+strconv.Quote(m[key]))
	}
	return strings.Join(lines, "\n")
}

// resourceField is a request or limit in units of the divisor, rounded up.
// Without a limit it is what the node has.
func (p *pod) resourceField(own *corev1.Container, ref *corev1.ResourceFieldSelector) (string, error) {
	target := own
	for _, c := range p.all() {
		if ref.ContainerName == c.spec.Name {
			target = c.spec
		}
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	quantity := target.Resources.Requests[corev1.ResourceName(name)]
	if kind == "limits" {
		limit, ok := target.Resources.Limits[corev1.ResourceName(name)]
		if !ok {
			limit = p.agent.options.Capacity[corev1.ResourceName(name)]
		}
		quantity = limit
	}
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if name == string(corev1.ResourceCPU) {
		return strconv.FormatInt(int64(math.Ceil(float64(quantity.MilliValue())/float64(divisor.MilliValue()))), 10), nil
	}
	return strconv.FormatInt(int64(math.Ceil(float64(quantity.Value())/float64(divisor.Value()))), 10), nil
}
