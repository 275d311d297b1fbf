package top

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"millrace.dev/millrace/controllers/view"
)

// terminal is a screen with keys.
type terminal struct {
	in, out *os.File
	color   bool
}

// openTerminal is the terminal of two files; ok is false when one of them is none.
func openTerminal(in io.Reader, out io.Writer) (t *terminal, ok bool) {
	i, one := in.(*os.File)
	o, two := out.(*os.File)
	if !one || !two || !term.IsTerminal(int(i.Fd())) || !term.IsTerminal(int(o.Fd())) || os.Getenv("TERM") == "dumb" {
		return nil, false
	}
	return &terminal{i, o, os.Getenv("NO_COLOR") == ""}, true
}

// What a terminal is told (ECMA-48, and the alternate screen of xterm).
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	clearLine   = "\x1b[K"
	plainText   = "\x1b[0m"
)

// redraw is how often the size of the terminal is looked at.
const redraw = 250 * time.Millisecond

// run shows readings until a key or ctx ends it. The terminal is as before then.
func (t *terminal) run(ctx context.Context, from reader, of view.Name) error {
	before, err := term.MakeRaw(int(t.in.Fd()))
	if err != nil {
		return fmt.Errorf("take the keys of the terminal: %w", err)
	}
	defer term.Restore(int(t.in.Fd()), before) //nolint:errcheck // nothing can be done about it
	if _, err := io.WriteString(t.out, enterScreen); err != nil {
		return err
	}
	defer io.WriteString(t.out, leaveScreen) //nolint:errcheck // nothing can be done about it

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type reading struct {
		graph *view.Graph
		flow  *view.Flow
	}
	readings := make(chan reading)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return watch(ctx, from, of, func(graph *view.Graph, flow *view.Flow) error {
			select {
			case readings <- reading{graph, flow}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	keys := make(chan string)
	go t.keys(ctx, keys) // a read of a terminal cannot be ended: it goes with the process
	g.Go(func() error {
		defer cancel()
		s, last := newScreen(of), ""
		var tap tapping
		tick := time.NewTicker(redraw)
		defer tick.Stop()
		for !s.quit {
			if now := tap.follow(ctx, from, of, s.tapped); !s.paused || tap.port != s.shown {
				s.seen, s.shown = now, tap.port
			}
			width, height, err := term.GetSize(int(t.out.Fd()))
			if err != nil || width < 1 || height < 1 {
				width, height = 80, 24
			}
			if frame := t.frame(s.lines(width, height)); frame != last {
				if _, err := io.WriteString(t.out, frame); err != nil {
					return err
				}
				last = frame
			}
			select {
			case <-ctx.Done():
				return nil
			case r := <-readings:
				s.read(r.graph, r.flow)
			case k, ok := <-keys:
				if !ok {
					return nil
				}
				s.key(k)
			case <-tick.C:
			}
		}
		return nil
	})
	return g.Wait()
}

// keys reads keys: a letter, or the sequence of an arrow.
func (t *terminal) keys(ctx context.Context, to chan<- string) {
	defer close(to)
	b := make([]byte, 64)
	for {
		n, err := t.in.Read(b)
		if err != nil {
			return
		}
		for _, key := range keysOf(string(b[:n])) {
			select {
			case to <- key:
			case <-ctx.Done():
				return
			}
		}
	}
}

// keysOf takes apart what a terminal sent at once.
func keysOf(text string) (keys []string) {
	for text != "" {
		n := 1
		if strings.HasPrefix(text, "\x1b[") || strings.HasPrefix(text, "\x1bO") {
			for n = 2; n < len(text) && (text[n] < '@' || text[n] > '~'); n++ {
				continue
			}
			n = min(n+1, len(text))
			keys = append(keys, "\x1b["+text[2:n]) // arrows are O in the mode of applications
		} else {
			keys = append(keys, text[:1])
		}
		text = text[n:]
	}
	return keys
}

func (t *terminal) frame(lines []line) string {
	var b strings.Builder
	b.WriteString(home)
	for i, l := range lines {
		style := ""
		if l.bold {
			style += ";1"
		}
		if l.reverse {
			style += ";7"
		}
		if l.color != 0 && t.color {
			style += fmt.Sprintf(";%d", l.color)
		}
		if i > 0 {
			b.WriteString("\r\n")
		}
		if style != "" {
			b.WriteString("\x1b[0" + style + "m" + l.text + plainText + clearLine)
		} else {
			b.WriteString(l.text + clearLine)
		}
	}
	return b.String() + "\x1b[J"
}
