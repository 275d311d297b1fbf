package explore

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"millrace.dev/millrace/workers/cel"
	"millrace.dev/millrace/workers/config/celenv"
	"millrace.dev/millrace/workers/config/usage"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/jsontext"
)

// maxEvents bounds what is read.
const maxEvents = 100_000

// Command is `millrace cel`.
func Command() *cobra.Command {
	var file, output string
	cmd := &cobra.Command{
		Use:   "cel [--event FILE] [EXPRESSION]",
		Short: "Evaluate CEL expressions about events",
		Long: `Cel compiles an expression as stages do, says its type and what one evaluation may cost, and evaluates it for the
events of a file: JSON, native or CloudEvents, one or many. Without an expression it reads them from standard input, a line each;
on a terminal with history (arrow up) and completion (tab).

Values are on standard output, one JSON value a line; everything else is on standard error. The exit code is 1 if an expression is
refused or fails for an event.`,
		Example: `  millrace cel --event events.ndjson "event.severity >= 17 && event.entity.namespace == 'shop'"
  millrace cel "event.attributes[?'page'].orValue(false)"     # type and cost alone
  millrace cel --event events.ndjson                          # interactive`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usage.Error{Err: fmt.Errorf("-o %s: want text or json", output)}
			}
			s, err := open(cmd, file, output == "json")
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return s.once(args[0])
			}
			if file == "-" {
				return usage.Error{Err: errors.New("--event - needs an EXPRESSION: standard input holds the events")}
			}
			return s.read(cmd.Context(), cmd.InOrStdin())
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "event", "", "file of events; - reads standard input")
	f.StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

// session evaluates expressions for some events.
type session struct {
	env    *cel.Env
	events []event.Event
	json   bool
	values io.Writer // what expressions yield
	about  io.Writer // what is said of them
}

func open(cmd *cobra.Command, file string, asJSON bool) (*session, error) {
	env, err := cel.NewEnv()
	if err != nil {
		return nil, err
	}
	s := &session{env: env, json: asJSON, values: cmd.OutOrStdout(), about: cmd.ErrOrStderr()}
	switch file {
	case "":
		return s, nil
	case "-":
		s.events, err = events(cmd.InOrStdin(), "standard input")
	default:
		f, err := os.Open(file)
		if err != nil {
			return nil, usage.Error{Err: fmt.Errorf("--event: %w", err)}
		}
		defer func() { _ = f.Close() }()
		s.events, err = events(f, file)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	return s, err
}

// events reads all events of r.
func events(r io.Reader, name string) (all []event.Event, err error) {
	texts := jsontext.NewReader(r, jsontext.MaxText)
	decoder := decode.New(decode.Limits{}) // never reset: the events live as long as the session
	for text, err := range texts.All() {
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		more, bad := decoder.Decode(nil, decode.Message{Data: append([]byte(nil), text...)})
		if len(bad) > 0 {
			return nil, fmt.Errorf("line %d of %s: %w", texts.Line(), name, bad[0].Err)
		}
		if all = append(all, more...); len(all) > maxEvents {
			return nil, fmt.Errorf("%s holds more than %d events", name, maxEvents)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s holds no event", name)
	}
	return all, nil
}

// result is what -o json prints for an expression.
type result struct {
	Expression string `json:"expression"`
	Type       string `json:"type,omitempty"`
	// Cost and LargestCost are CEL cost units, of an event of ordinary size and of the largest one.
	Cost        uint64  `json:"cost,omitempty"`
	LargestCost uint64  `json:"largestCost,omitempty"`
	Error       string  `json:"error,omitempty"`
	Values      []value `json:"values,omitempty"`
}

type value struct {
	ID    string `json:"id"`
	Value any    `json:"value"`
	Error string `json:"error,omitempty"`
}

var errFailed = errors.New("the expression fails for some events")

// once evaluates one expression, and prints what comes of it.
func (s *session) once(expression string) error {
	r, err := s.evaluate(expression)
	if s.json {
		if err := s.encode(r); err != nil {
			return err
		}
	} else if r.Type != "" {
		if err := s.print(r); err != nil {
			return err
		}
	}
	return err
}

func (s *session) evaluate(expression string) (result, error) {
	r := result{Expression: expression}
	t, err := s.env.Try(expression)
	if err != nil {
		r.Error = err.Error()
		return r, err
	}
	r.Type, r.Cost, r.LargestCost = t.Type, t.Cost.Ordinary, t.Cost.Largest
	for i := range s.events {
		v := value{ID: s.events[i].ID}
		got, failed := t.Of(&s.events[i])
		if v.Value = got; failed != nil {
			v.Error, err = failed.Error(), errFailed
		}
		r.Values = append(r.Values, v)
	}
	return r, err
}

func (s *session) print(r result) error {
	fmt.Fprintf(s.about, "%s, %d units an event, %d for the largest one (at most %d)\n", r.Type, r.Cost, r.LargestCost, uint64(celenv.MaxCost))
	for _, v := range r.Values {
		if v.Error != "" {
			fmt.Fprintf(s.about, "event %s: %s\n", strconv.Quote(v.ID), v.Error)
			continue
		}
		if err := s.encode(v.Value); err != nil {
			return fmt.Errorf("event %s: %w", strconv.Quote(v.ID), err)
		}
	}
	return nil
}

func (s *session) encode(v any) error {
	e := json.NewEncoder(s.values)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// read evaluates one expression after another until the input ends.
func (s *session) read(ctx context.Context, in io.Reader) error {
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return s.interact(f)
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	var failed error
	for lines.Scan() && ctx.Err() == nil {
		if line := strings.TrimSpace(lines.Text()); line != "" {
			if err := s.once(line); err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s: %w", line, err))
			}
		}
	}
	return errors.Join(failed, lines.Err())
}
