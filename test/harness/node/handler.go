package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"millrace.dev/millrace/test/harness/process"
)

// maxProbeOutput is how much of a command's output the kubelet quotes, in bytes.
const maxProbeOutput = 10 << 10

// probe runs one probe; nil is success.
func (c *container) probe(ctx context.Context, probe *corev1.Probe) error {
	timeout := time.Duration(max(1, probe.TimeoutSeconds)) * time.Second
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch {
	case probe.HTTPGet != nil:
		return c.httpGet(ctx, probe.HTTPGet)
	case probe.TCPSocket != nil:
		return c.tcpSocket(ctx, probe.TCPSocket)
	case probe.Exec != nil:
		return c.exec(ctx, probe.Exec.Command)
	default:
		return errors.New("the node agent has no such kind of probe")
	}
}

func (c *container) httpGet(ctx context.Context, action *corev1.HTTPGetAction) error {
	port, err := c.port(action.Port)
	if err != nil {
		return err
	}
	host := action.Host
	if host == "" {
		host = c.pod.ip
	}
	url := strings.ToLower(string(action.Scheme)) + "://" + net.JoinHostPort(host, strconv.Itoa(port)) +
		"/" + strings.TrimPrefix(action.Path, "/")
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "kube-probe/1.37")
	for _, h := range action.HTTPHeaders {
		request.Header.Add(h.Name, h.Value)
		if strings.EqualFold(h.Name, "Host") {
			request.Host = h.Value
		}
	}
	client := &http.Client{Timeout: timeLeft(ctx), Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // as the kubelet does
	}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // nothing was written
	_, _ = io.CopyN(io.Discard, response.Body, 10<<10)
	if response.StatusCode < 200 || response.StatusCode >= 400 {
		return fmt.Errorf("HTTP probe failed with statuscode: %d", response.StatusCode)
	}
	return nil
}

// timeLeft until a deadline, for clients whose own timeout has words of its
// own; 0, which is none, without a deadline.
func timeLeft(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return max(time.Millisecond, time.Until(deadline)-time.Millisecond)
}

func (c *container) tcpSocket(ctx context.Context, action *corev1.TCPSocketAction) error {
	port, err := c.port(action.Port)
	if err != nil {
		return err
	}
	host := action.Host
	if host == "" {
		host = c.pod.ip
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return conn.Close()
}

func (c *container) port(port intstr.IntOrString) (int, error) {
	if port.Type == intstr.Int {
		return port.IntValue(), nil
	}
	for _, p := range c.spec.Ports {
		if p.Name == port.StrVal {
			return int(p.ContainerPort), nil
		}
	}
	return 0, fmt.Errorf("couldn't find port: %v", port)
}

// exec runs a command beside the container, with its environment and mounts.
// A timeout kills it. The error of a failed command is its output and nothing
// else, as the kubelet's Events have it.
func (c *container) exec(ctx context.Context, command []string) error {
	began := time.Now()
	argv := c.replaceEntrypoint(c.entrypoint, c.expandAll(c.values, command))
	log, err := os.CreateTemp(c.pod.dir, "exec-*.log")
	if err != nil {
		return err
	}
	_ = log.Close()
	defer os.Remove(log.Name()) //nolint:errcheck // goes with the pod's folder
	p, err := process.Start(process.Command{
		Path: argv[0], Args: argv[1:], Env: c.processEnv(c.values),
		Dir: filepath.Join(c.root, filepath.FromSlash(c.spec.WorkingDir)), LogFile: log.Name(),
	})
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Kill()
		deadline, _ := ctx.Deadline()
		return fmt.Errorf("command timed out: %q timed out after %s", strings.Join(argv, " "), deadline.Sub(began).Round(time.Second))
	}
	if code, _ := p.ExitCode(); code != 0 {
		return errors.New(p.Tail(maxProbeOutput))
	}
	return nil
}

// preStop runs the hook: sleep, exec or httpGet, for at most the grace
// period. Its failure is an event.
func (c *container) preStop(p *process.Process, grace time.Duration) {
	if c.spec.Lifecycle == nil || c.spec.Lifecycle.PreStop == nil {
		return
	}
	ctx, cancel := context.WithTimeout(c.pod.hard, grace)
	defer cancel()
	go func() { // no hook for a process that ends meanwhile
		select {
		case <-p.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	var err error
	switch hook := c.spec.Lifecycle.PreStop; {
	case hook.Sleep != nil:
		sleep(ctx, time.Duration(hook.Sleep.Seconds)*time.Second)
	case hook.Exec != nil:
		err = c.exec(ctx, hook.Exec.Command)
	case hook.HTTPGet != nil:
		err = c.httpGet(ctx, hook.HTTPGet)
	}
	if err != nil {
		c.event(corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
	}
}
