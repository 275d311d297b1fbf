package kube

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

const (
	serviceRange   = "10.0.0.0/24"
	serviceIP      = "10.0.0.1"
	frontProxyUser = "front-proxy-client"
)

// controllers that a workload needs, without those that talk to a cloud,
// to volumes or to real kubelets.
var controllers = strings.Join([]string{
	"deployment-controller", "replicaset-controller", "statefulset-controller", "daemonset-controller",
	"job-controller", "cronjob-controller", "ttl-after-finished-controller",
	"horizontal-pod-autoscaler-controller", "disruption-controller",
	"garbage-collector-controller", "pod-garbage-collector-controller",
	"namespace-controller", "resourcequota-controller",
	"serviceaccount-controller", "serviceaccount-token-controller",
	"root-ca-certificate-publisher-controller", "clusterrole-aggregation-controller",
	"endpointslice-controller",
}, ",")

func etcdFlags(dir, clientURL, peerURL string) []string {
	return []string{
		"--data-dir=" + filepath.Join(dir, "etcd"),
		"--listen-client-urls=" + clientURL,
		"--advertise-client-urls=" + clientURL,
		"--listen-peer-urls=" + peerURL,
		"--initial-advertise-peer-urls=" + peerURL,
		"--initial-cluster=default=" + peerURL,
		"--unsafe-no-fsync",
		"--log-level=warn",
	}
}

func apiServerFlags(dir, etcdURL string, port int, only bool) []string {
	in := func(name string) string { return filepath.Join(dir, name) }
	// TaintNodesByCondition would taint each new node until the node
	// lifecycle controller, which is off here, clears it.
	disabled := "TaintNodesByCondition"
	if only {
		// Nobody creates the default service accounts.
		disabled += ",ServiceAccount"
	}
	return []string{
		"--etcd-servers=" + etcdURL,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		"--endpoint-reconciler-type=none",
		"--tls-cert-file=" + in("apiserver.crt"),
		"--tls-private-key-file=" + in("apiserver.key"),
		"--client-ca-file=" + in("ca.crt"),
		"--service-account-key-file=" + in("sa.pub"),
		"--service-account-signing-key-file=" + in("sa.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-cluster-ip-range=" + serviceRange,
		"--authorization-mode=Node,RBAC",
		"--allow-privileged=true",
		"--enable-priority-and-fairness=false",
		"--disable-admission-plugins=" + disabled,
		"--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file=" + in("front-proxy-ca.crt"),
		"--requestheader-allowed-names=" + frontProxyUser,
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + in("front-proxy.crt"),
		"--proxy-client-key-file=" + in("front-proxy.key"),
	}
}

func controllerManagerFlags(dir, kubeconfig string, hpaSync, hpaDownscale time.Duration) []string {
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1",
		"--secure-port=0",
		"--leader-elect=false",
		"--service-account-private-key-file=" + filepath.Join(dir, "sa.key"),
		"--root-ca-file=" + filepath.Join(dir, "ca.crt"),
		"--use-service-account-credentials",
		"--controllers=" + controllers,
		"--horizontal-pod-autoscaler-sync-period=" + hpaSync.String(),
		"--horizontal-pod-autoscaler-downscale-stabilization=" + hpaDownscale.String(),
	}
}

func schedulerFlags(dir, kubeconfig string, port int) []string {
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		"--leader-elect=false",
		"--cert-dir=" + dir,
	}
}

// mergeFlags lets each extra flag (--name=value) replace the default of the
// same name: some flags add up when given twice.
func mergeFlags(defaults, extra []string) []string {
	name := func(flag string) string { before, _, _ := strings.Cut(flag, "="); return before }
	replaced := map[string]bool{}
	for _, flag := range extra {
		replaced[name(flag)] = true
	}
	var merged []string
	for _, flag := range defaults {
		if !replaced[name(flag)] {
			merged = append(merged, flag)
		}
	}
	return append(merged, extra...)
}
