package model

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// runReal has `millrace run` do it, in a folder of its own, and returns what every port and every file of a sink holds, with the closing report.
func (p *pipeline) runReal(ctx context.Context, binary, dir string, input []line) (*outcome, error) {
	var lines strings.Builder
	for _, l := range input {
		lines.WriteString(l.text + "\n")
	}
	manifest := filepath.Join(dir, "pipeline.json")
	if err := os.WriteFile(manifest, p.manifest(dir), 0o600); err != nil {
		return nil, err
	}
	report := filepath.Join(dir, "report.json")
	args := []string{"run", "-f", manifest, "--input", "-", "--until-drained", "--report", report}
	files := map[string]string{}
	for _, s := range p.stages {
		for _, port := range s.ports {
			name := s.name + "/" + port
			files[name] = filepath.Join(dir, strings.ReplaceAll(name, "/", "-"))
			args = append(args, "--output", name+"="+files[name])
		}
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stdin = strings.NewReader(lines.String())
	if said, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("millrace run: %w\n%s", err, said)
	}
	o := &outcome{ports: map[string][]*ev{}, counts: map[string]*counts{}}
	for name, file := range files {
		var err error
		if o.ports[name], err = readFile(file); err != nil {
			return nil, err
		}
	}
	return o, errors.Join(o.readSinks(p, dir), o.readReport(report))
}

// readSinks reads the files of sinks, as what is on a port that is called kept.
func (o *outcome) readSinks(p *pipeline, dir string) error {
	for _, s := range p.stages {
		if s.kind != "sink" {
			continue
		}
		lanes, err := filepath.Glob(filepath.Join(dir, s.name+"*.ndjson"))
		if err != nil {
			return err
		}
		for _, lane := range lanes {
			events, err := readFile(lane)
			if err != nil {
				return err
			}
			o.ports[s.name+"/kept"] = append(o.ports[s.name+"/kept"], events...)
		}
	}
	return nil
}

func readFile(path string) (events []*ev, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		e, err := read(lines.Bytes())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		events = append(events, e)
	}
	return events, lines.Err()
}

func (o *outcome) readReport(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var report struct {
		Stages map[string]struct {
			In, Filtered, Duplicates, Kept int64

			Reasons map[string]int64 `json:"dead_letter_reasons"`
		}
	}
	if err := json.Unmarshal(text, &report); err != nil {
		return err
	}
	for name, s := range report.Stages {
		o.counts[name] = &counts{s.In, s.Filtered, s.Duplicates, s.Kept, s.Reasons}
	}
	return nil
}

// differences says how a run differs from the model; empty = in nothing.
func differences(model, real *outcome) (all []string) {
	for name, want := range model.counts {
		got := real.counts[name]
		if got == nil {
			all = append(all, "stage "+name+": not in the report")
			continue
		}
		a, b := fmt.Sprint(*want), fmt.Sprint(*got)
		if a != b {
			all = append(all, fmt.Sprintf("stage %s: in, filtered, duplicates, kept and dead letters are %s, want %s", name, b, a))
		}
	}
	for port, want := range model.ports {
		if port == ingress {
			continue
		}
		got, listed := real.ports[port]
		if !listed && len(want) > 0 {
			all = append(all, "port "+port+": not read")
			continue
		}
		d := differ(want, got)
		if d == "" && model.ordered[port] {
			d = disorder(want, got)
		}
		if d != "" {
			all = append(all, "port "+port+": "+d)
		}
	}
	slices.Sort(all)
	return all
}

// differ compares events without their order.
func differ(want, got []*ev) string {
	balance := map[string]int{}
	for _, e := range want {
		balance[e.text()]++
	}
	for _, e := range got {
		balance[e.text()]--
	}
	var all []string
	for text, n := range balance {
		switch {
		case n > 0:
			all = append(all, fmt.Sprintf("missing %d x %s", n, text))
		case n < 0:
			all = append(all, fmt.Sprintf("too many %d x %s", -n, text))
		}
	}
	slices.Sort(all)
	if len(all) > 6 {
		all = append(all[:6], fmt.Sprintf("and %d more", len(all)-6))
	}
	return strings.Join(all, "\n  ")
}

// disorder compares the order of events that always had the same keys. Events that are alike may stand for each other.
func disorder(want, got []*ev) string {
	keys := map[string]string{} // of an event, by its text
	order := map[string][]string{}
	for _, e := range want {
		keys[e.text()] = e.keys
		order[e.keys] = append(order[e.keys], e.text())
	}
	for _, e := range got {
		text := e.text()
		k := keys[text]
		if order[k][0] != text {
			return fmt.Sprintf("out of order within key %q: %s before %s", k[strings.LastIndexByte(k, 0)+1:], text, order[k][0])
		}
		order[k] = order[k][1:]
	}
	return ""
}
