package diff

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"millrace.dev/millrace/controllers/internal/jetstream"
)

// What applying does to something.
const (
	Create  = "create"
	Change  = "change"
	Refused = "refused"
	// Drain: what is stored for it is processed first, then it is deleted.
	Drain = "drain"
	// Keep: the plan has it no more, and it stays with its messages.
	Keep = "keep"
	// Live: running workers take the change up without a restart.
	Live    = "live"
	Restart = "restart"
	Start   = "start"
	Scale   = "scale"
)

// Item is one thing that applying makes, changes, refuses or leaves.
type Item struct {
	// What it is: pipeline, stream, bucket, consumer or workers.
	What   string `json:"what"`
	Name   string `json:"name"`
	Stage  string `json:"stage,omitempty"`
	Action string `json:"action"`
	// Fields differ.
	Fields []Field `json:"fields,omitempty"`
	// Notes say what follows: data that is dropped, a way out of a refusal.
	Notes []string `json:"notes,omitempty"`
}

// Field is one difference.
type Field struct {
	Name string `json:"name"`
	Have string `json:"have"`
	Want string `json:"want"`
}

// Result is what applying the manifest of one pipeline does.
type Result struct {
	// Pipeline is namespace/name.
	Pipeline string `json:"pipeline"`
	Items    []Item `json:"items"`
	// Unchanged counts streams, buckets, consumers and workers that stay as they are.
	Unchanged int `json:"unchanged"`
	// Notes say what was not compared, and why.
	Notes []string `json:"notes,omitempty"`
}

func (r *Result) add(i Item) {
	if i.Action == "" {
		r.Unchanged++
		return
	}
	r.Items = append(r.Items, i)
}

func (r *Result) refused() bool {
	for _, i := range r.Items {
		if i.Action == Refused {
			return true
		}
	}
	return false
}

func fieldsOf(fields jetstream.Fields) []Field {
	var all []Field
	for _, f := range fields {
		all = append(all, Field{f.Name, f.Have, f.Want})
	}
	return all
}

// signs stand before items, as in a diff.
var signs = map[string]string{Create: "+", Start: "+", Change: "~", Live: "~", Restart: "~", Scale: "~", Refused: "!", Drain: "-", Keep: "="}

// write prints a result as people read it.
func (r *Result) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "pipeline %s\n", r.Pipeline)
	if r.refused() {
		b.WriteString("  The operator refuses the edit: what runs goes on as it is, until this is undone or solved.\n")
	}
	for _, i := range r.Items {
		name := i.Name
		if i.Stage != "" && i.Stage != i.Name {
			name += " of stage " + i.Stage
		}
		fmt.Fprintf(&b, "%s %s %s: %s\n", signs[i.Action], i.What, name, i.Action)
		for _, f := range i.Fields {
			fmt.Fprintf(&b, "    %s: %s -> %s\n", f.Name, f.Have, f.Want)
		}
		for _, n := range i.Notes {
			fmt.Fprintf(&b, "    %s\n", n)
		}
	}
	if len(r.Items) == 0 {
		b.WriteString("  no changes\n")
	}
	fmt.Fprintf(&b, "  %d unchanged\n", r.Unchanged)
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "  note: %s\n", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Result) writeJSON(w io.Writer) error {
	if r.Items == nil {
		r.Items = []Item{}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(r)
}
