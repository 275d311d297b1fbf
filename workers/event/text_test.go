package event_test

import (
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/workers/event"
)

func TestSeverity(t *testing.T) {
	for text, want := range map[string]int32{
		"TRACE": 1, "trace4": 4, "DEBUG": 5, "Info": 9, "INFO2": 10, "information": 9, "notice": 10,
		"WARN": 13, "warning": 13, "WARN3": 15, "error": 17, "ERROR4": 20, "err": 17, "crit": 18, "critical": 18,
		"alert": 19, "fatal": 21, "FATAL4": 24, "emerg": 21, "emergency": 21, "panic": 21, "Normal": 9,
		"": 0, "INFO1": 0, "INFO5": 0, "warning2": 0, "2": 0, "loud": 0, strings.Repeat("x", 1000): 0,
	} {
		if got := event.SeverityNumber(text); got != want {
			t.Errorf("SeverityNumber(%q) = %d, want %d", text, got, want)
		}
	}
	for n := int32(1); n <= 24; n++ {
		if got := event.SeverityNumber(event.SeverityText(n)); got != n {
			t.Errorf("severity %d is %q, which is %d", n, event.SeverityText(n), got)
		}
	}
	for n, want := range map[int32]string{-1: "", 0: "", 1: "trace", 8: "debug", 9: "info", 16: "warn", 17: "error", 21: "fatal", 25: ""} {
		if got := event.SeverityLevel(n); got != want {
			t.Errorf("SeverityLevel(%d) = %q, want %q", n, got, want)
		}
		if want == "" && event.SeverityText(n) != "" {
			t.Errorf("SeverityText(%d) = %q, want none", n, event.SeverityText(n))
		}
	}
}

func TestTraceparent(t *testing.T) {
	const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"good":                 {"00-" + trace + "-" + span + "-01", true},
		"not sampled":          {"00-" + trace + "-" + span + "-00", true},
		"later version":        {"01-" + trace + "-" + span + "-01", true},
		"later, longer":        {"cc-" + trace + "-" + span + "-01-what-comes", true},
		"later, run together":  {"cc-" + trace + "-" + span + "-01what", false},
		"version 00, longer":   {"00-" + trace + "-" + span + "-01-x", false},
		"version ff":           {"ff-" + trace + "-" + span + "-01", false},
		"zero trace":           {"00-" + strings.Repeat("0", 32) + "-" + span + "-01", false},
		"zero span":            {"00-" + trace + "-" + strings.Repeat("0", 16) + "-01", false},
		"upper case":           {"00-" + strings.ToUpper(trace) + "-" + span + "-01", false},
		"not hex":              {"00-" + trace[:31] + "g-" + span + "-01", false},
		"short":                {"00-" + trace + "-" + span, false},
		"wrong separator":      {"00_" + trace + "-" + span + "-01", false},
		"empty":                {"", false},
		"not hex in the flags": {"00-" + trace + "-" + span + "-0x", false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := event.ParseTraceparent(c.text)
			if (err == nil) != c.ok {
				t.Fatalf("error %v, want ok %v", err, c.ok)
			}
			if err == nil && got.String()[3:] != c.text[3:55] {
				t.Errorf("written as %s, read from %s", got, c.text)
			}
		})
	}
}

// TestTimeAgreesWithGo compares with package time, which is laxer in places.
func TestTimeAgreesWithGo(t *testing.T) {
	for _, text := range []string{
		"2026-01-02T15:04:05Z", "2026-01-02T15:04:05.1Z", "2026-01-02T15:04:05.123456789Z", "2026-01-02T15:04:05.1234567891234Z",
		"2026-01-02T15:04:05+00:00", "2026-01-02T15:04:05-11:30", "2026-01-02T15:04:05.5+14:00", "2024-02-29T23:59:59Z",
		"1970-01-01T00:00:01Z", "1969-12-31T23:59:59.999999999Z", "1678-01-01T00:00:00Z", "2262-04-11T23:47:15Z",
	} {
		want, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := event.ParseTime(text); err != nil || got != want.UnixNano() {
			t.Errorf("ParseTime(%q) = %d, %v; want %d", text, got, err, want.UnixNano())
		}
		back, err := event.ParseTime(string(event.AppendTime(nil, want.UnixNano())))
		if err != nil || back != want.UnixNano() {
			t.Errorf("%q comes back as %d, %v; want %d", text, back, err, want.UnixNano())
		}
	}
}

func TestTimeTolerance(t *testing.T) {
	want := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC).UnixNano()
	for _, text := range []string{"2026-01-02t15:04:05z", "2026-01-02 15:04:05Z", "2026-01-02T16:04:05+01:00", "2026-01-02T16:04:05+0100", "2026-01-02T16:04:05+01"} {
		if got, err := event.ParseTime(text); err != nil || got != want {
			t.Errorf("ParseTime(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	leap := time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	if got, err := event.ParseTime("2016-12-31T23:59:60.7Z"); err != nil || got != leap {
		t.Errorf("leap second: %d, %v; want %d", got, err, leap)
	}
	for _, text := range []string{
		"", "yesterday", "2026-01-02", "2026-01-02T15:04Z", "2026-01-02T15:04:05", "2026-13-02T15:04:05Z", "2026-00-02T15:04:05Z",
		"2026-02-29T15:04:05Z", "2026-04-31T15:04:05Z", "2026-01-00T15:04:05Z", "2026-01-02T24:04:05Z", "2026-01-02T15:60:05Z",
		"2026-01-02T15:04:61Z", "2026-01-02T15:04:05.Z", "2026-01-02T15:04:05,5Z", "2026-01-02T15:04:05+24:00", "2026-01-02T15:04:05+1", "2026-01-02T15:04:05+010", "2026-01-02T15:04:05+01:0",
		"2026-01-02T15:04:05ZZ", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1677-01-01T00:00:00Z", "2026-01-0xT15:04:05Z", "1767366246",
	} {
		if got, err := event.ParseTime(text); err == nil {
			t.Errorf("ParseTime(%q) = %d, want an error", text, got)
		}
	}
}
