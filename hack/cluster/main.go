// Command cluster runs a Kubernetes control plane, nodes and a NATS server on
// this machine until it is interrupted, and then removes everything. Pods run
// as processes of the host; see test/harness/README.md.
//
//	go run ./hack/cluster --nodes=2 --image=ghcr.io/acme/app=./bin/app
//
// With --env it also prints the tour of README.md: the commands to type next.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"millrace.dev/millrace/test/harness/kube"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/harness/node"
)

// settings from the command line.
type settings struct {
	nodes      int
	images     map[string][]string
	crds       []string
	kubeconfig string
	env        string
	noNATS     bool
}

func main() {
	s := settings{images: map[string][]string{
		"busybox": {"/bin/sh"}, // with a command of the host
	}}
	// A set of its own: a dependency puts --kubeconfig into the default one.
	flags := flag.NewFlagSet("cluster", flag.ExitOnError)
	flags.IntVar(&s.nodes, "nodes", 1, "number of nodes")
	flags.BoolVar(&s.noNATS, "no-nats", false, "start no NATS server")
	flags.StringVar(&s.kubeconfig, "kubeconfig", "", "also write the kubeconfig to this file")
	flags.StringVar(&s.env, "env", "", "also write a file for the shell: KUBECONFIG, NATS_URL, and a PATH with kubectl, helm, nats and millrace; and print the tour")
	flags.Func("image", "IMAGE=COMMAND: the host command that stands for an image; may be repeated", s.addImage)
	flags.Func("crds", "file or folder of CustomResourceDefinitions to install; may be repeated", func(path string) error {
		s.crds = append(s.crds, path)
		return nil
	})
	_ = flags.Parse(os.Args[1:]) // exits on errors

	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func (s *settings) addImage(text string) error {
	image, command, ok := strings.Cut(text, "=")
	words := strings.Fields(command)
	if !ok || len(words) == 0 {
		return fmt.Errorf("want IMAGE=COMMAND")
	}
	path, err := filepath.Abs(words[0])
	if err != nil {
		return err
	}
	s.images[image] = append([]string{path}, words[1:]...)
	return nil
}

// builtBinary stands for every image named millrace, of any registry and tag:
// what `make build` made.
func builtBinary(image string) ([]string, bool) {
	name, _, _ := strings.Cut(path.Base(image), ":")
	name, _, _ = strings.Cut(name, "@")
	root, err := kube.ModuleRoot()
	if err != nil || name != "millrace" {
		return nil, false
	}
	binary := filepath.Join(root, "bin", "millrace")
	_, err = os.Stat(binary)
	return []string{binary}, err == nil
}

// run starts all parts, tells how to use them and waits for ctx.
func run(ctx context.Context, s settings) error {
	plane, err := kube.Start(ctx, kube.Options{})
	if err != nil {
		return err
	}
	defer plane.Stop()
	if len(s.crds) > 0 {
		if err := plane.InstallCRDs(s.crds...); err != nil {
			return err
		}
	}
	agent, err := node.Start(ctx, node.Options{
		Config: plane.Config(), Nodes: s.nodes, Images: s.images, Resolve: builtBinary,
	})
	if err != nil {
		return err
	}
	defer agent.Stop()
	found := environment{kubeconfig: plane.Kubeconfig()}
	if !s.noNATS {
		server, err := natsserver.Start(ctx, natsserver.Options{})
		if err != nil {
			return err
		}
		defer server.Stop()
		found.nats = server.URL()
	}
	if s.kubeconfig != "" {
		if err := kube.WriteKubeconfig(s.kubeconfig, plane.Config(), "default"); err != nil {
			return err
		}
		defer os.Remove(s.kubeconfig) //nolint:errcheck // of no use any more
	}
	if err := tell(s, found); err != nil {
		return err
	}
	if s.env != "" {
		defer os.Remove(s.env) //nolint:errcheck // of no use any more
	}
	fmt.Printf("# logs: %s and %s\n# Ctrl-C stops and removes everything\n", plane.LogDir(), agent.LogDir())
	<-ctx.Done()
	return nil
}
