package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"millrace.dev/millrace/test/harness/process"
)

// component is one program of the control plane, which a test may kill and
// start again with the same flags.
type component struct {
	command process.Command

	mu      sync.Mutex
	process *process.Process
}

func (c *component) start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := process.Start(c.command)
	if err == nil {
		c.process = p
	}
	return err
}

func (c *component) current() *process.Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.process
}

// run starts a component for the first time.
func (c *ControlPlane) run(name string, flags []string) error {
	path, err := Find(name)
	if err != nil {
		return err
	}
	started := &component{command: process.Command{
		Name: name, Path: path, Args: flags, Dir: c.dir,
		LogFile: filepath.Join(c.LogDir(), name+".log"),
	}}
	if err := started.start(); err != nil {
		return err
	}
	c.components = append(c.components, started)
	return nil
}

func (c *ControlPlane) component(name string) (*component, error) {
	for _, candidate := range c.components {
		if candidate.command.Name == name {
			return candidate, nil
		}
	}
	return nil, fmt.Errorf("the control plane has no %s", name)
}

// HasControllers reports whether more than an API server runs.
func (c *ControlPlane) HasControllers() bool {
	_, err := c.component("kube-controller-manager")
	return err == nil
}

// KillComponent kills one program, for instance kube-apiserver, to see how
// others live without it. Its port and data stay reserved for
// RestartComponent.
func (c *ControlPlane) KillComponent(name string) error {
	victim, err := c.component(name)
	if err != nil {
		return err
	}
	victim.current().Kill()
	return nil
}

// RestartComponent starts a program again on its old port, killing it first
// if need be, and waits until the API server is ready.
func (c *ControlPlane) RestartComponent(ctx context.Context, name string) error {
	target, err := c.component(name)
	if err != nil {
		return err
	}
	target.current().Kill()
	if err := target.start(); err != nil {
		return err
	}
	return c.waitReady(ctx)
}

// Stop ends all processes and removes the folder, unless it was given. The
// components keep no state that outlives them, so they are killed: a graceful
// kube-apiserver takes seconds, and minutes when etcd goes first.
func (c *ControlPlane) Stop() {
	c.Kill()
	if c.ownsDir {
		_ = os.RemoveAll(c.dir)
	}
}

// Kill ends all processes, the last started first, and leaves the folder with
// the logs.
func (c *ControlPlane) Kill() {
	for _, victim := range slices.Backward(c.components) {
		victim.current().Kill()
	}
}

// died returns an error when a component has ended.
func (c *ControlPlane) died() error {
	var errs []error
	for _, one := range c.components {
		if p := one.current(); !p.Running() {
			code, _ := p.ExitCode()
			errs = append(errs, fmt.Errorf("%s ended with code %d", one.command.Name, code))
		}
	}
	return errors.Join(errs...)
}
