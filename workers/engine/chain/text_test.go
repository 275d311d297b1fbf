package chain

import (
	"strings"
	"testing"
)

func TestHeaderText(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"plain":     {"all well", "all well"},
		"one line":  {"a\r\nNats-Msg-Id: forged\x00", "a  Nats-Msg-Id: forged"},
		"bounded":   {strings.Repeat("x", 30), strings.Repeat("x", 24)},
		"rune kept": {strings.Repeat("x", 23) + "ü", strings.Repeat("x", 23)},
		"not UTF-8": {"a\xffb", "a\uFFFDb"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := headerText(c.in, 24); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestFramesOfStages(t *testing.T) {
	for from, want := range map[string]bool{
		"ingress": false, "enrich/out": true, "split/late": true, "enrich/dead-letter": false, "correlate/insights": false,
	} {
		if got := framed(from); got != want {
			t.Errorf("%s: got %t, want %t", from, got, want)
		}
	}
}
