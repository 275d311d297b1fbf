package jsontext_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/workers/event/jsontext"
)

// texts reads all of in; the last one is the error, if it is none of the end.
func texts(in io.Reader, limit int) (all []string) {
	r := jsontext.NewReader(in, limit)
	for {
		text, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			return append(all, "error: "+err.Error())
		}
		all = append(all, string(text))
	}
}

// TestLine: each text is told with the line at which it begins, also behind one that is too long.
func TestLine(t *testing.T) {
	const in = "\n[{\"id\":1},\n\n{\"id\":\n2}, {\"id\":3}]\n  x\n{\"id\":\n\"a long one, of more bytes than the limit allows\"\n}\n{\"id\":4}"
	for name, r := range map[string]io.Reader{"at once": strings.NewReader(in), "byte by byte": iotest.OneByteReader(strings.NewReader(in))} {
		t.Run(name, func(t *testing.T) {
			reader := jsontext.NewReader(r, 40)
			var lines []int
			for _, err := range reader.All() {
				if err != nil {
					t.Fatal(err)
				}
				lines = append(lines, reader.Line())
			}
			if diff := cmp.Diff([]int{2, 4, 5, 6, 7, 10}, lines); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestTexts: what a file of events is cut into, however the bytes come.
func TestTexts(t *testing.T) {
	pretty := "{\n  \"id\": \"a\",\n  \"entity\": {\n    \"name\": \"}\"\n  }\n}"
	long := strings.Repeat("x", 3000)
	for name, c := range map[string]struct {
		in   string
		want []string
	}{
		"nothing":                   {"", nil},
		"blank":                     {" \n\r\n\uFEFF", nil},
		"lines":                     {"{\"id\":1}\n\n{\"id\":2}\r\n{\"id\":3}", []string{`{"id":1}`, `{"id":2}`, `{"id":3}`}},
		"marks":                     {"\uFEFF{\"id\":1}\n\uFEFF{\"id\":2}\n", []string{`{"id":1}`, `{"id":2}`}},
		"garbage between":           {"{\"id\":1}\nnope, nope\n[2026-01-05 INFO] started\n17\n{\"id\":2}\n", []string{`{"id":1}`, "nope, nope", "[2026-01-05 INFO] started", "17", `{"id":2}`}},
		"garbage behind":            {"{\"id\":1} x\n{\"id\":2}\n", []string{`{"id":1} x`, `{"id":2}`}},
		"several on a line":         {`{"id":1}{"id":2} {"id":3}`, []string{`{"id":1}`, `{"id":2}`, `{"id":3}`}},
		"pretty":                    {pretty + "\n" + pretty + "\n", []string{pretty, pretty}},
		"pretty, one broken":        {"{\n  \"id\": 1,\n}\n" + pretty, []string{"{\n  \"id\": 1,\n}", pretty}},
		"pretty, brace missing":     {"{\n  \"id\": 1,\n" + pretty, []string{"{\n  \"id\": 1,", pretty}},
		"pretty, cut off":           {pretty + "\n{\n  \"id\":", []string{pretty, "{\n  \"id\":"}},
		"a line cut off in a text":  {"{\"id\":\"1\n{\"id\":2}", []string{`{"id":"1`, `{"id":2}`}},
		"a line cut off at a comma": {"{\"id\":1,\n{\"id\":2}\n{\"id\":3}", []string{`{"id":1,`, `{"id":2}`, `{"id":3}`}},
		"a line cut off at a colon": {"{\"id\":\n{\"id\":2}\n{\"id\":3}", []string{`{"id":`, `{"id":2}`, `{"id":3}`}},
		"a line without its brace":  {"{\"id\":1,\"e\":{\"x\":1}\n{\"id\":2}", []string{`{"id":1,"e":{"x":1}`, `{"id":2}`}},
		"array on a line":           {`[{"id":1}, {"id":2}]`, []string{`{"id":1}`, `{"id":2}`}},
		"arrays, a line each":       {"[{\"id\":1},{\"id\":2}]\n[]\n[{\"id\":3}]\n", []string{`{"id":1}`, `{"id":2}`, `{"id":3}`}},
		"array, pretty":             {"[\n" + pretty + ",\n" + pretty + "\n]\n", []string{pretty, pretty}},
		"array with a bare NaN":     {`[{"id":1},{"id":NaN},{"id":3}]`, []string{`{"id":1}`, `{"id":NaN}`, `{"id":3}`}},
		"array of other things":     {`[{"id":1},2,"x",null]`, []string{`{"id":1}`, "2", `"x"`, "null"}},
		"array without its end":     {`[{"id":1},`, []string{`{"id":1}`, "error: the array has no end: the input is cut off at byte 10"}},
		"array that is broken":      {`[{"id":1},{"id":"2},{"id":3}]`, []string{`{"id":1}`, `{"id":"2},{"id":3}]`, `error: the array is broken in the element at byte 10 (JSON, offset 12: 'i' where ',' or '}' should stand): where the next event begins cannot be told`}},
		"UTF-16":                    {"\xff\xfe{\x00}\x00", []string{"error: it is UTF-16 text: convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)"}},
		"gzip":                      {"\x1f\x8b\x08\x00", []string{"error: it is compressed with gzip: decompress it (gzip -d)"}},
		"a line that is too long":   {"{\"id\":\"" + long + "\"}\n{\"id\":2}", []string{"{\"id\":\"" + long[:993], `{"id":2}`}},
		"an object that is":         {"{\n\"id\":\"" + long + "\"\n}\n{\"id\":2}", []string{"{\n\"id\":\"" + long[:992], `{"id":2}`}},
		"a line without end":        {long + "\n{\"id\":2}", []string{long[:1000], `{"id":2}`}},
		"an element that is":        {"[{\"id\":\"" + long + "\"}, {\"id\":2}]", []string{"{\"id\":\"" + long[:993], `{"id":2}`}},
	} {
		t.Run(name, func(t *testing.T) {
			for how, in := range map[string]io.Reader{
				"at once": strings.NewReader(c.in), "byte by byte": iotest.OneByteReader(strings.NewReader(c.in)),
				"in halves": iotest.HalfReader(strings.NewReader(c.in)), "with its end": iotest.DataErrReader(strings.NewReader(c.in)),
			} {
				if diff := cmp.Diff(c.want, texts(in, 1000)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", how, diff)
				}
			}
		})
	}
}

// FuzzTexts: whatever a text is, its reader ends, does not depend on how the bytes come, and loses
// nothing that matters.
func FuzzTexts(f *testing.F) {
	for _, s := range []string{"{\"id\":1}\n{\"id\":2}", "[{\"a\":1},\n{\"a\":NaN}]", "{\n\"a\":[{\"b\":\"}\"}]\n}\nx\n", "[[{", "{\"a\\"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		whole := texts(bytes.NewReader(data), 1<<20)
		if diff := cmp.Diff(whole, texts(iotest.OneByteReader(bytes.NewReader(data)), 1<<20)); diff != "" {
			t.Fatalf("at once, and byte by byte:\n%s", diff)
		}
		left := string(data)
		for _, text := range whole {
			if strings.HasPrefix(text, "error: ") {
				return
			}
			at := strings.Index(left, text)
			if at < 0 || strings.Trim(left[:at], " \t\r\n,[]\uFEFF") != "" {
				t.Fatalf("%q is lost before %q", left[:max(at, 0)], text)
			}
			left = left[at+len(text):]
		}
		if strings.Trim(left, " \t\r\n,[]\uFEFF") != "" {
			t.Fatalf("%q is lost", left)
		}
	})
}
