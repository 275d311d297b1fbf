package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"millrace.dev/millrace/test/harness/kube"
)

// environment is what a shell needs to reach the cluster.
type environment struct {
	kubeconfig, nats string
}

// tell prints how to use the cluster. With a file for the environment, it writes that and prints the tour.
func tell(s settings, found environment) error {
	if s.env == "" {
		kubectl, err := kube.Find("kubectl")
		if err != nil {
			return err
		}
		fmt.Print(found.lines(filepath.Dir(kubectl)))
		return nil
	}
	root, err := kube.ModuleRoot()
	if err != nil {
		return err
	}
	folders, err := toolFolders(root)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.env), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(s.env, []byte(found.lines(folders...)), 0o600); err != nil {
		return err
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		return err
	}
	commands, err := tour(string(readme))
	if err != nil {
		return err
	}
	fmt.Printf("The cluster runs. Type in another terminal, in this folder:\n\n%s\n", commands)
	return nil
}

// lines are for a shell.
func (e environment) lines(folders ...string) string {
	lines := "export KUBECONFIG=" + e.kubeconfig + "\nexport PATH=" + strings.Join(folders, ":") + ":$PATH\n"
	if e.nats != "" {
		lines += "export NATS_URL=" + e.nats + "\n"
	}
	return lines
}

// toolFolders hold what the tour calls: kubectl, helm, nats and millrace.
func toolFolders(root string) ([]string, error) {
	kubectl, err := kube.Find("kubectl")
	if err != nil {
		return nil, err
	}
	folders := []string{filepath.Dir(kubectl)}
	for _, name := range []string{"helm", "nats"} {
		command := exec.Command(filepath.Join(root, "hack", "tools", "build.sh"), name)
		command.Stderr = os.Stderr
		path, err := command.Output()
		if err != nil {
			return nil, fmt.Errorf("build %s: %w", name, err)
		}
		folders = append(folders, filepath.Dir(strings.TrimSpace(string(path))))
	}
	return append(folders, filepath.Join(root, "bin")), nil
}

var tourBlock = regexp.MustCompile("(?s)<!-- tour of make cluster -->\n```sh\n(.*?)```\n")

// tour finds the commands in the README: what is printed here and what people read there is one text.
func tour(readme string) (string, error) {
	found := tourBlock.FindStringSubmatch(readme)
	if found == nil {
		return "", fmt.Errorf("README.md has no tour of make cluster")
	}
	return found[1], nil
}
