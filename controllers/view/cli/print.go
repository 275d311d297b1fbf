package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"millrace.dev/millrace/workers/config/usage"
	"millrace.dev/millrace/workers/event"
)

// Output is how a command prints.
type Output struct {
	format string
	out    io.Writer
	about  io.Writer
	color  bool
}

// Flags adds the flag -o.
func (o *Output) Flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "output", "o", "text", "text or json")
}

// Begin reads the flag.
func (o *Output) Begin(cmd *cobra.Command) error {
	if o.format != "text" && o.format != "json" {
		return usage.Error{Err: fmt.Errorf("-o %s: want text or json", o.format)}
	}
	o.out, o.about = cmd.OutOrStdout(), cmd.ErrOrStderr()
	f, ok := o.out.(*os.File)
	o.color = ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return nil
}

// JSON says that data is printed as JSON.
func (o *Output) JSON() bool { return o.format == "json" }

// Value prints one value as one line of JSON. What would control a terminal is escaped.
func (o *Output) Value(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(o.out, escaped(strings.TrimSuffix(b.String(), "\n"))+"\n")
	return err
}

// escaped is JSON on one line, with unsafe characters, which stand in strings alone, as \u202e.
func escaped(text string) string {
	if !strings.ContainsFunc(text, unsafe) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if !unsafe(r) {
			b.WriteRune(r)
			continue
		}
		for _, u := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, u)
		}
	}
	return b.String()
}

// Bytes writes a size for a person.
func Bytes(n uint64) string { return event.Quantity(float64(n), "By") }

// Line prints one line of text.
func (o *Output) Line(format string, args ...any) error {
	_, err := fmt.Fprintf(o.out, format+"\n", args...)
	return err
}

// Notice says something that is no data.
func (o *Output) Notice(format string, args ...any) { fmt.Fprintf(o.about, format+"\n", args...) }

// Table prints rows in columns.
func (o *Output) Table(header []string, rows [][]string) error {
	w := tabwriter.NewWriter(o.out, 0, 0, 2, ' ', 0)
	if _, err := fmt.Fprintln(w, strings.Join(header, "\t")); err != nil {
		return err
	}
	for _, row := range rows {
		for i := range row {
			row[i] = Safe(row[i])
		}
		if _, err := fmt.Fprintln(w, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}

// A Color of a terminal.
type Color int

// The colours.
const (
	Red    Color = 31
	Green  Color = 32
	Yellow Color = 33
	Cyan   Color = 36
	Faint  Color = 2
)

// Paint colours a text on a terminal.
func (o *Output) Paint(c Color, text string) string {
	if !o.color {
		return text
	}
	return "\x1b[" + strconv.Itoa(int(c)) + "m" + text + "\x1b[0m"
}

// Safe is a text on one line without what controls a terminal, or turns the direction of text: such characters are written as \u202e.
func Safe(text string) string {
	if !strings.ContainsFunc(text, unsafe) && strings.ToValidUTF8(text, "") == text {
		return text
	}
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(text, "\uFFFD") {
		switch {
		case !unsafe(r):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// unsafe says whether a character is a control, or one of format such as the marks of direction.
func unsafe(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029'
}

// Cut is a text of so many characters at most.
func Cut(text string, limit int) string {
	n := 0
	for i := range text {
		if n++; n > limit {
			return text[:i] + "…"
		}
	}
	return text
}

// When is a time in the zone of the reader.
func When(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.Local().Format("2006-01-02 15:04:05.000")
}
