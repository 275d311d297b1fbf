package jsontext

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

var jsonTexts = map[string]string{
	"object":             `{"a":[1,-2.5e+3,true,false,null,"x\n\u00e9\ud83d\ude00"],"b":{}}`,
	"empty":              ``,
	"space":              " \t\r\n",
	"spaced":             " { \"a\" : [ 1 , 2 ] } \n",
	"empty array":        `[]`,
	"number":             `0`,
	"minus zero":         `-0`,
	"leading zero":       `01`,
	"plus":               `+1`,
	"bare minus":         `-`,
	"no fraction":        `1.`,
	"no integer":         `.5`,
	"no exponent":        `1e`,
	"exponent":           `1E-07`,
	"trailing comma":     `[1,]`,
	"trailing comma 2":   `{"a":1,}`,
	"missing comma":      `[1 2]`,
	"missing colon":      `{"a" 1}`,
	"unquoted":           `{a:1}`,
	"single quotes":      `{'a':1}`,
	"open string":        `"abc`,
	"open string long":   `"abcdefghijklmnopqrstuvwxyz`,
	"open object":        `{"a":1`,
	"open array":         `[1`,
	"wrong close":        `[1}`,
	"two values":         `1 2`,
	"bad word":           `nul`,
	"bad word 2":         `truex`,
	"tab in string":      "\"a\tb\"",
	"nul in string":      "\"abcdefgh\x00ijklm\"",
	"control escape":     "\"\\\x11\"",
	"bad escape":         `"\x41"`,
	"short escape":       `"\u12"`,
	"control in escape":  "\"\\u\x10\x11\x12\x13\"",
	"lone surrogate":     `"\ud83d"`,
	"lone low surrogate": `"\ude00x"`,
	"two highs":          `"\ud83d\ud83d\ude00"`,
	"escaped quote":      `"a\"b\\"`,
	"long":               `"` + strings.Repeat("abcdefgh", 100) + `"`,
	"del":                "\"\x7f\"",
	"non-ASCII":          `"zażółć gęślą jaźń 漢字"`,
	"only NaN":           `NaN`,
	"byte order mark":    "\ufeff{}",
	"comment":            `{/*x*/}`,
	"deep":               strings.Repeat("[", 60) + strings.Repeat("]", 60),
}

// agree checks that the scanner accepts what encoding/json accepts.
func agree(t *testing.T, text []byte) {
	t.Helper()
	s := Scanner{Src: text, MaxDepth: 10_000}
	err := s.Only()
	want := json.Valid(text) && utf8.Valid(text)
	if got := err == nil; got != want {
		t.Fatalf("scanner accepts %q: %v (%v); encoding/json: %v", text, got, err, want)
	}
	if err != nil {
		return
	}
	// Every string decodes to what encoding/json makes of it.
	var decoded string
	if json.Unmarshal(text, &decoded) != nil {
		return
	}
	s = Scanner{Src: text}
	s.space()
	at, err := s.Text()
	if err != nil {
		return // null
	}
	if got := string(AppendUnescaped(nil, text[at.From:at.To])); got != decoded {
		t.Fatalf("text %q is %q, want %q", text, got, decoded)
	}
}

func TestScannerAgreesWithEncodingJSON(t *testing.T) {
	for name, text := range jsonTexts {
		t.Run(name, func(t *testing.T) { agree(t, []byte(text)) })
	}
}

func FuzzJSON(f *testing.F) {
	for _, text := range jsonTexts {
		f.Add([]byte(text))
	}
	f.Fuzz(agree)
}

func TestScannerRefusesInvalidUTF8(t *testing.T) {
	for name, text := range map[string]string{
		"value": "\"abc\xff\"", "name": "{\"\xc3\x28\":1}", "surrogate": "\"\xed\xa0\x80\"", "overlong": "\"\xc0\xaf\"",
	} {
		t.Run(name, func(t *testing.T) {
			s := Scanner{Src: []byte(text), MaxDepth: 10}
			if err := s.Only(); err == nil || !strings.Contains(err.Error(), "not valid UTF-8") {
				t.Errorf("error %v, want not valid UTF-8", err)
			}
		})
	}
}

// TestQuoted: what is written reads as what was meant, also by encoding/json.
func TestQuoted(t *testing.T) {
	for _, want := range []string{"", "plain", "\"\\/\b\f\n\r\t\x00\x1f\x7f", "zażółć 漢字 😀 \u2028", strings.Repeat("long ", 50) + "\n"} {
		var got string
		if err := json.Unmarshal(AppendQuoted(nil, want), &got); err != nil || got != want {
			t.Errorf("%q reads as %q (%v)", want, got, err)
		}
	}
}
