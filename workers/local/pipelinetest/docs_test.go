package pipelinetest

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// page is the page about tests.
const page = "../../../docs/testing.md"

// section returns the block of code behind a marker, and the page with another one in its place.
func section(t *testing.T, text, marker, instead string) (block, changed string) {
	t.Helper()
	before, rest, ok := strings.Cut(text, marker+"\n")
	if !ok {
		t.Fatalf("the page has no %s", marker)
	}
	fence, rest, _ := strings.Cut(rest, "\n")
	block, after, ok := strings.Cut(rest, "```\n")
	if !strings.HasPrefix(fence, "```") || !ok {
		t.Fatalf("no block of code follows %s", marker)
	}
	return block, before + marker + "\n" + fence + "\n" + instead + "```\n" + after
}

// TestPage: the test that the page shows is that of the sample, and the failure is what a test that fails prints.
func TestPage(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	sample, err := os.ReadFile(samples + "/tests/routed.test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	failing := command(t, "-f", "testdata/almost.test.yaml")
	if failing.code() != 1 {
		t.Fatalf("%v\n%s", failing.err, failing.stdout)
	}
	output := seconds.ReplaceAllString(strings.ReplaceAll(failing.stdout, "testdata/", ""), "(0.84s)")
	shown, changed := section(t, string(content), "<!-- file config/samples/tests/routed.test.yaml -->", string(sample))
	printed, changed := section(t, changed, "<!-- output of workers/local/pipelinetest/testdata/almost.test.yaml -->", output)
	if *update {
		if err := os.WriteFile(page, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(sample), shown); diff != "" {
		t.Errorf("the page shows another test (-update writes it): -want +got\n%s", diff)
	}
	if diff := cmp.Diff(output, printed); diff != "" {
		t.Errorf("the page shows another failure (-update writes it): -want +got\n%s", diff)
	}
}
