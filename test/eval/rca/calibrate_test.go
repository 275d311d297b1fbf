package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestCalibrate: revisions count in the time of a fault alone, a pod counts as its workload, and what is closed does not count.
func TestCalibrate(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	truth := write("truth.json", `{"faults": [{"time": "2023-01-29T08:00:00Z", "service": "cart"}, {"time": "2023-01-29T08:04:00Z", "service": "web"}]}`)
	line := func(at, name, confidence, status string) string {
		return `{"time":"2023-01-29T` + at + `Z","data":{"insight":{"confidence":` + confidence + `,"status":"` + status + `","rootCause":{"name":"` + name + `"}}}}` + "\n"
	}
	insights := write("insights.ndjson", line("07:58:00", "cart", "0.9", "open")+ // too early
		line("07:59:00", "cart-7d4b9c6f5d-x2x4z", "0.9", "open")+
		line("08:02:00", "web", "1", "updated")+
		line("08:02:20", "cart", "1", "closed")+
		line("08:03:00", "web", "0.5", "updated")) // that of the next fault
	var out bytes.Buffer
	if err := calibrate(&out, truth, insights, 90, 300); err != nil {
		t.Fatal(err)
	}
	const want = "\nconfidence   revisions   first is right\n0.4 to 0.6           1             1.00\n0.8 to 1.0           2             0.50\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	if err := calibrate(&out, truth, write("bad.ndjson", "{"), 90, 300); err == nil {
		t.Error("half a line is read")
	}
}
