package cli

import (
	"encoding/json"
	"testing"
)

func TestSafe(t *testing.T) {
	for text, want := range map[string]string{
		"plain":             "plain",
		"größer 日本":         "größer 日本",
		"a\nb\tc":           `a\nb\tc`,
		"\x1b[2J":           `\u001b[2J`,
		"x\u202egnp.exe":    `x\u202egnp.exe`,
		"\u2066a\u2069":     `\u2066a\u2069`,
		"\u009b31m":         `\u009b31m`,
		"\xff":              "\uFFFD",
		"a\u200db\u2028c":   `a\u200db\u2028c`,
		"\U000e0041 tagged": `\U000e0041 tagged`,
	} {
		if got := Safe(text); got != want {
			t.Errorf("Safe(%q) = %q, want %q", text, got, want)
		}
	}
}

// TestEscapedJSONIsTheSame: what is printed means the same, and holds nothing that controls a terminal.
func TestEscapedJSONIsTheSame(t *testing.T) {
	for _, text := range []string{"plain", "\u202ex\u009b", "\U000e0041", "a\u200d\u2028"} {
		b, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		printed := escaped(string(b))
		if err := json.Unmarshal([]byte(printed), &got); err != nil || got != text {
			t.Errorf("%q is printed as %s, which means %q, %v", text, printed, got, err)
		}
		if Safe(printed) != printed {
			t.Errorf("%q is printed as %q", text, printed)
		}
	}
}
