package node

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"millrace.dev/millrace/test/harness/process"
)

// prepare finds the image, the environment and the arguments, and waits for
// what is missing; false when ctx ended before.
func (c *container) prepare(ctx context.Context) (process.Command, bool) {
	pulls := newBackOff(c.pod.agent.options)
	for ctx.Err() == nil {
		entrypoint, err := c.pod.agent.options.entrypoint(c.spec.Image)
		if err != nil {
			c.pullBackOff(ctx, pulls, err)
			continue
		}
		command, err := c.command(ctx, entrypoint)
		if err != nil {
			c.event(corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
			c.locked(func() { c.wait("CreateContainerConfigError", err.Error()) })
			sleep(ctx, 2*retryInterval)
			continue
		}
		c.event(corev1.EventTypeNormal, "Pulled",
			fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", c.spec.Image))
		return command, true
	}
	return process.Command{}, false
}

func (c *container) command(ctx context.Context, entrypoint []string) (process.Command, error) {
	values, err := c.variables(ctx)
	if err != nil {
		return process.Command{}, err
	}
	c.entrypoint, c.values = entrypoint, values
	argv := slices.Clone(entrypoint)
	if len(c.spec.Command) > 0 {
		argv = c.replaceEntrypoint(entrypoint, c.expandAll(values, c.spec.Command))
	}
	argv = append(argv, c.expandAll(values, c.spec.Args)...)
	if len(argv) == 0 {
		return process.Command{}, fmt.Errorf("no command specified")
	}
	dir, err := c.workingDir()
	if err != nil {
		return process.Command{}, err
	}
	log := filepath.Join(c.pod.logDir(), fmt.Sprintf("%s.%d.log", c.spec.Name, c.attempt))
	c.pod.agent.noteLog(c, log)
	return process.Command{
		Name: c.spec.Name, Path: argv[0], Args: argv[1:],
		Env: c.processEnv(values), Dir: dir, LogFile: log,
	}, nil
}

// expandAll resolves $(VAR) and rewrites mount paths.
func (c *container) expandAll(values *variables, words []string) []string {
	rewrite := c.rewriter()
	var result []string
	for _, word := range words {
		result = append(result, rewrite.rewrite(values.expand(word)))
	}
	return result
}

// replaceEntrypoint applies the pod's command. Its program lives in the
// image; here it is the entrypoint's when the base names agree, else a
// program of the host.
func (c *container) replaceEntrypoint(entrypoint, command []string) []string {
	if len(entrypoint) > 0 && path.Base(command[0]) == filepath.Base(entrypoint[0]) {
		return append([]string{entrypoint[0]}, command[1:]...)
	}
	return command
}

// workingDir is below the container's root, so that relative paths stay in
// the pod.
func (c *container) workingDir() (string, error) {
	dir := filepath.Join(c.root, filepath.FromSlash(c.spec.WorkingDir))
	return dir, os.MkdirAll(dir, 0o700)
}

// mount makes the container's root with a link for each volume mount, outer
// mounts before inner ones.
func (c *container) mount() error {
	if err := os.MkdirAll(filepath.Join(c.root, "tmp"), 0o700); err != nil {
		return err
	}
	mounts := slices.Clone(c.spec.VolumeMounts)
	slices.SortFunc(mounts, func(a, b corev1.VolumeMount) int { return len(a.MountPath) - len(b.MountPath) })
	for _, m := range mounts {
		target := filepath.Join(c.pod.volumes.path(m.Name), filepath.FromSlash(m.SubPath))
		if m.SubPath != "" && c.pod.volumes.writable(m.Name) {
			if err := os.MkdirAll(target, 0o700); err != nil {
				return err
			}
		}
		link := filepath.Join(c.root, filepath.FromSlash(m.MountPath))
		if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
			return err
		}
		if err := os.RemoveAll(link); err != nil {
			return err
		}
		if err := os.Symlink(target, link); err != nil {
			return err
		}
	}
	return nil
}

// rewriter maps the container's mount paths to the host.
func (c *container) rewriter() rewriter {
	var paths []string
	for _, m := range c.spec.VolumeMounts {
		paths = append(paths, path.Clean(m.MountPath))
	}
	return newRewriter(c.root, paths)
}

// processEnv is the whole environment of the process: PATH of the host, a
// HOME and TMPDIR of its own, the way to the API server, and the container's
// variables above those.
func (c *container) processEnv(values *variables) []string {
	agent := c.pod.agent
	host, port := agent.apiServer()
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + c.root,
		"TMPDIR=" + filepath.Join(c.root, "tmp"),
		"HOSTNAME=" + c.pod.newest().Name,
		"KUBERNETES_SERVICE_HOST=" + host,
		"KUBERNETES_SERVICE_PORT=" + port,
		"CONTAINER_ROOT=" + c.root,
	}
	if file := c.pod.volumes.kubeconfig(c.spec); file != "" {
		env = append(env, "KUBECONFIG="+file)
	}
	env = append(env, agent.options.Env...)
	rewrite := c.rewriter()
	for _, name := range values.order {
		env = append(env, name+"="+rewrite.rewrite(values.value[name]))
	}
	return lastWins(env)
}

// lastWins keeps the last of equal names.
func lastWins(env []string) []string {
	last := map[string]int{}
	for i, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		last[name] = i
	}
	var result []string
	for i, entry := range env {
		if name, _, _ := strings.Cut(entry, "="); last[name] == i {
			result = append(result, entry)
		}
	}
	return result
}
