package explore

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/google/cel-go/common/types"
	"golang.org/x/term"

	"millrace.dev/millrace/workers/config/celenv"
)

const help = `An expression about the variable event, such as event.severity >= 17. Tab completes, arrow up is the one before.
  :fields   the fields of an event, with their types
  :events   the events, by number and id
  :quit     or Ctrl-D
`

// interact reads expressions from a terminal.
func (s *session) interact(in *os.File) error {
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return fmt.Errorf("use the terminal: %w", err)
	}
	defer func() { _ = term.Restore(int(in.Fd()), before) }()
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, os.Stderr}, "cel> ")
	if width, height, err := term.GetSize(int(in.Fd())); err == nil && width > 0 {
		_ = t.SetSize(width, height)
	}
	t.AutoCompleteCallback = func(line string, at int, key rune) (string, int, bool) {
		if key != '\t' {
			return "", 0, false
		}
		return complete(line, at)
	}
	history := openHistory()
	defer history.close()
	t.History = history
	s.values, s.about = t, t
	fmt.Fprintf(t, "%d events. :help says more.\n", len(s.events))
	for {
		line, err := t.ReadLine()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the terminal: %w", err)
		}
		if !s.answer(t, strings.TrimSpace(line)) {
			return nil
		}
	}
}

// answer answers a line, and says whether to go on.
func (s *session) answer(w io.Writer, line string) bool {
	switch line {
	case "":
	case ":quit", ":q", "exit", "quit":
		return false
	case ":help", "help", "?":
		fmt.Fprint(w, help)
	case ":fields":
		printFields(w, celenv.Variable, celenv.Event)
	case ":events":
		for i := range s.events {
			fmt.Fprintf(w, "%d %q %s\n", i, s.events[i].ID, s.events[i].Type)
		}
	default:
		if err := s.once(line); err != nil {
			fmt.Fprintln(w, err)
		}
	}
	return true
}

func printFields(w io.Writer, path, object string) {
	fields := celenv.Fields(object)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		t := fields[name]
		if t.Kind() == types.StructKind {
			printFields(w, path+"."+name, t.TypeName())
			continue
		}
		fmt.Fprintf(w, "%s.%s  %s\n", path, name, t)
	}
}

// functions are what may follow a value, or stand alone, in the most frequent expressions.
var functions = [...]string{
	"all(", "contains(", "endsWith(", "exists(", "filter(", "indexOf(", "lowerAscii(", "map(", "matches(", "orValue(", "replace(", "size()", "split(", "startsWith(",
	"substring(", "trim()", "upperAscii(",
}

// complete completes the path before the cursor as far as it is the same for all that fit.
func complete(line string, at int) (string, int, bool) {
	from := strings.LastIndexFunc(line[:at], func(r rune) bool {
		return r != '.' && r != '_' && r != ':' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) + 1
	word := line[from:at]
	fits := candidates(word)
	fits = slices.DeleteFunc(fits, func(c string) bool { return !strings.HasPrefix(c, word) })
	if len(fits) == 0 {
		return "", 0, false
	}
	most := fits[0]
	for _, c := range fits[1:] {
		for !strings.HasPrefix(c, most) {
			most = most[:len(most)-1]
		}
	}
	if most == word {
		return "", 0, false
	}
	return line[:from] + most + line[at:], from + len(most), true
}

// candidates are what may stand in place of a word.
func candidates(word string) []string {
	dot := strings.LastIndexByte(word, '.')
	if dot < 0 {
		return []string{celenv.Variable + ".", "has(event.", ":events", ":fields", ":help", ":quit"}
	}
	path, object := word[:dot], celenv.Event
	parts := strings.Split(path, ".")
	if parts[0] != celenv.Variable {
		object = ""
	}
	for _, part := range parts[1:] {
		object = of(object, part)
	}
	var all []string
	for name, t := range celenv.Fields(object) {
		if t.Kind() == types.StructKind {
			name += "."
		}
		all = append(all, path+"."+name)
	}
	if celenv.Fields(object) == nil {
		for _, f := range functions {
			all = append(all, path+"."+f)
		}
	}
	return all
}

// of is the object type of a member; empty where it is no object.
func of(object, member string) string {
	if t := celenv.Fields(object)[member]; t != nil && t.Kind() == types.StructKind {
		return t.TypeName()
	}
	return ""
}

// history keeps what was typed in a file, when there is a place for one.
type history struct {
	lines []string // the oldest first
	file  *os.File
}

// historyLines is how many lines are read back.
const historyLines = 1000

func openHistory() *history {
	h := &history{}
	dir, err := os.UserCacheDir()
	if err != nil {
		return h
	}
	if dir = filepath.Join(dir, "millrace"); os.MkdirAll(dir, 0o700) != nil {
		return h
	}
	h.file, err = os.OpenFile(filepath.Join(dir, "cel_history"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return h
	}
	lines := bufio.NewScanner(h.file)
	for lines.Scan() {
		h.lines = append(h.lines, lines.Text())
	}
	h.lines = h.lines[max(0, len(h.lines)-historyLines):]
	return h
}

func (h *history) close() {
	if h.file != nil {
		_ = h.file.Close()
	}
}

// Add implements term.History.
func (h *history) Add(line string) {
	if line == "" || len(h.lines) > 0 && h.lines[len(h.lines)-1] == line {
		return
	}
	h.lines = append(h.lines, line)
	if h.file != nil {
		_, _ = h.file.WriteString(line + "\n")
	}
}

// Len implements term.History.
func (h *history) Len() int { return len(h.lines) }

// At implements term.History: 0 is the newest line.
func (h *history) At(i int) string { return h.lines[len(h.lines)-1-i] }
