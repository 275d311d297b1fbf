// Command demo-patterns runs config/samples/everything.yaml on the input of the demo, with a responder that fails for ten seconds, and prints what
// each pattern did. `make demo-patterns` calls it.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
)

// The responder answers at first, then says nothing for a while.
const (
	wellFor = 3 * time.Second
	failFor = 10 * time.Second
)

const subject = "risk.score"

func main() {
	binary := flag.String("millrace", "bin/millrace", "the binary")
	dir := flag.String("dir", "dist/demo", "folder with input.ndjson and kubernetes-snapshot.json, as make demo-input makes them, and for what comes out")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *binary, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "demo-patterns:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, binary, dir string) error {
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.MkdirAll("/tmp/millrace-everything", 0o755); err != nil { // where the sample keeps its files
		return err
	}
	cmd := exec.CommandContext(ctx, binary, "run", "-f", "config/samples/everything.yaml", "--input", at("input.ndjson"), "--rate", "3000", "--until-drained",
		"--listen", "127.0.0.1:0", "--kubernetes-snapshot", at("kubernetes-snapshot.json"), "--report", at("patterns.json"), "--output", "score="+at("scored.ndjson"))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Stdout = os.Stdout
	said, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	responder := &responder{}
	defer responder.close()
	relay(said, func(url string) {
		if err := responder.start(url); err != nil {
			fmt.Fprintln(os.Stderr, "demo-patterns: the responder:", err)
		}
	})
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("millrace run: %w", err)
	}
	return summary(os.Stdout, at("patterns.json"), at("scored.ndjson"), responder)
}

// relay passes on what the run says, and tells where its NATS server listens.
func relay(from io.Reader, listens func(url string)) {
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		if url, ok := strings.CutPrefix(lines.Text(), "listening on "); ok {
			listens(url)
		}
		fmt.Fprintln(os.Stderr, lines.Text())
	}
}

// responder scores events.
type responder struct {
	conn           *nats.Conn
	answered, mute atomic.Int64
	first          atomic.Int64 // when it was asked first, Unix nanoseconds
}

func (r *responder) start(url string) (err error) {
	if r.conn, err = nats.Connect(url); err != nil {
		return err
	}
	_, err = r.conn.QueueSubscribe(subject, "scorers", r.answer)
	return err
}

func (r *responder) answer(m *nats.Msg) {
	now := time.Now()
	r.first.CompareAndSwap(0, now.UnixNano())
	if since := now.Sub(time.Unix(0, r.first.Load())); since > wellFor && since < wellFor+failFor {
		r.mute.Add(1)
		return
	}
	var event struct {
		SeverityNumber int `json:"severitynumber"`
	}
	if err := json.Unmarshal(m.Data, &event); err != nil {
		_ = m.Respond([]byte(`{"error": {"message": "no event", "permanent": true}}`)) // the asker is gone, else
		return
	}
	r.answered.Add(1)
	_ = m.Respond(fmt.Appendf(nil, `{"attributes": {"score": %.2f}}`, float64(event.SeverityNumber)/24)) // as above
}

func (r *responder) close() {
	if r.conn != nil {
		r.conn.Close()
	}
}

// stage is what the report says of one.
type stage struct {
	In, Out, Kept int64
	Ports         map[string]int64
}

func summary(to io.Writer, report, scored string, r *responder) error {
	text, err := os.ReadFile(report)
	if err != nil {
		return err
	}
	var all struct {
		Stages map[string]stage
		Lost   int64
	}
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	marks, err := marksOf(scored)
	if err != nil {
		return err
	}
	s := all.Stages
	fmt.Fprintf(to, "\nwhat the patterns did:\n\n")
	for _, line := range [][2]string{
		{"route", fmt.Sprintf("triage sent %d events to signals and %d to rest", s["triage"].Ports["signals"], s["triage"].Ports["rest"])},
		{"fork", fmt.Sprintf("four stages read each of the %d enriched events", s["enrich"].Out)},
		{"join", fmt.Sprintf("together made %d events of %d answers of its two branches", s["together"].Out, s["together"].In)},
		{"gather", fmt.Sprintf("score asked %d times: %d answers, %d questions while the responder was mute", r.answered.Load()+r.mute.Load(), r.answered.Load(), r.mute.Load())},
		{"breaker", fmt.Sprintf("%d events have their score; %d went on without, of which %d while the breaker was open", marks["complete"], marks["none"], marks["breaker_open"])},
		{"experiment", fmt.Sprintf("ab gave %d events to control and %d to candidate", s["ab"].Ports["control"], s["ab"].Ports["candidate"])},
		{"compare", fmt.Sprintf("verdict compared %d events: see its insight above", s["verdict"].In)},
		{"sinks", fmt.Sprintf("archive and archived kept %d events in /tmp/millrace-everything", s["archive"].Kept+s["archived"].Kept)},
	} {
		fmt.Fprintf(to, "  %-10s  %s\n", line[0], line[1])
	}
	enriched := s["enrich"].Out
	found := s["correlate"].Out + s["analyze"].Out - 2*enriched // what these make is new: nobody else has it
	switch scoredEvents := marks["complete"] + marks["none"]; {
	case all.Lost != 0:
		return fmt.Errorf("%d events were lost", all.Lost)
	case scoredEvents != s["together"].Out:
		return fmt.Errorf("%d events left the join, %d are scored or marked", s["together"].Out, scoredEvents)
	case s["archived"].Kept != enriched || s["together"].Out != enriched+found:
		return fmt.Errorf("%d events were enriched, %d archived, %d joined with %d findings", enriched, s["archived"].Kept, s["together"].Out, found)
	case marks["breaker_open"] == 0 || marks["complete"] == 0:
		return errors.New("the breaker never opened, or no event has a score")
	}
	return nil
}

// marksOf counts the marks of score: by status, and those with reason breaker_open.
func marksOf(path string) (map[string]int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	marks := map[string]int64{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e struct {
			Data struct {
				Attributes struct {
					Status string `json:"gather.score.status"`
					Reason string `json:"gather.score.reason"`
				}
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, err
		}
		marks[e.Data.Attributes.Status]++
		marks[e.Data.Attributes.Reason]++
	}
	return marks, lines.Err()
}
