// Command generate-events writes a story of events with planted incidents, the truth about
// them, and the cluster that they happened in. See package test/generator.
//
//	go run ./hack/generate-events -seed 1 -n 60000 -invalid 300 -undecodable 50 -duplicates 500 -out dist/demo
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"millrace.dev/millrace/test/generator"
)

func main() {
	err := run(os.Args[1:], time.Now(), os.Stdout)
	switch {
	case err == nil, err == flag.ErrHelp: //nolint:errorlint // flag returns it as it is
	default:
		fmt.Fprintln(os.Stderr, "generate-events:", err)
		os.Exit(1)
	}
}

func run(args []string, now time.Time, out io.Writer) error {
	f := flag.NewFlagSet("generate-events", flag.ContinueOnError)
	var o generator.Options
	f.Uint64Var(&o.Seed, "seed", 1, "the same seed and end give the same bytes")
	f.IntVar(&o.Events, "n", 60_000, "number of valid events")
	f.IntVar(&o.Invalid, "invalid", 0, "events that lack a required attribute, in addition")
	f.IntVar(&o.Undecodable, "undecodable", 0, "lines that are not JSON, in addition")
	f.IntVar(&o.Duplicates, "duplicates", 0, "events that come a second time, in addition")
	end := f.String("end", "", "when the story ends, RFC 3339; default: now")
	dir := f.String("out", "", "folder for events.ndjson, truth.json and kubernetes-snapshot.json (required)")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *dir == "" {
		return fmt.Errorf("-out is not set: name the folder to write to")
	}
	o.End = now
	if *end != "" {
		at, err := time.Parse(time.RFC3339, *end)
		if err != nil {
			return fmt.Errorf("-end: %w", err)
		}
		o.End = at
	}
	story, err := generator.Generate(o)
	if err != nil {
		return err
	}
	if err := story.Write(*dir); err != nil {
		return err
	}
	t := story.Truth
	_, err = fmt.Fprintf(out, "%s: %d lines (%d valid events, %d invalid, %d undecodable, %d duplicates) and %d incidents from %s to %s\n",
		*dir, t.Counts.Lines, t.Counts.Valid, t.Counts.Invalid, t.Counts.Undecodable, t.Counts.Duplicates,
		len(t.Incidents), t.Start.Format(time.RFC3339), t.End.Format(time.RFC3339))
	return err
}
