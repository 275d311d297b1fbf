package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	var out bytes.Buffer
	args := []string{"-seed", "7", "-n", "6000", "-invalid", "5", "-undecodable", "4", "-duplicates", "3", "-out", dir}
	if err := run(args, now, &out); err != nil {
		t.Fatal(err)
	}
	const want = "6012 lines (6000 valid events, 5 invalid, 4 undecodable, 3 duplicates) and 6 incidents from 2026-01-02T14:54:05Z to 2026-01-02T15:04:05Z"
	if !strings.Contains(out.String(), want) {
		t.Errorf("says %q, want %q", out.String(), want)
	}
	for _, name := range []string{"events.ndjson", "truth.json", "kubernetes-snapshot.json"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		"-out is not set":  {"-n", "6000"},
		"-end: parsing":    {"-out", "x", "-end", "yesterday"},
		"events is 1:":     {"-out", "x", "-n", "1"},
		"flag provided bu": {"-x"},
	} {
		if err := run(args, time.Now(), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v, want %q", args, err, want)
		}
	}
}
