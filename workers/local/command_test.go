package local

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseOutputs(t *testing.T) {
	got, err := parseOutputs([]string{"enrich=a.ndjson", "correlate/insights=b=c"})
	if err != nil {
		t.Fatal(err)
	}
	want := []OutputFile{{"enrich", "out", "a.ndjson"}, {"correlate", "insights", "b=c"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, bad := range []string{"enrich", "=f", "enrich="} {
		if _, err := parseOutputs([]string{bad}); err == nil {
			t.Errorf("parseOutputs(%q) gave no error", bad)
		}
	}
}

func TestOptionsCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		o    Options
		want string
	}{
		"no file":                 {Options{}, "-f FILE is required: the manifest of the pipeline"},
		"two ends":                {Options{File: "p", Input: "-", UntilDrained: true, For: 1}, "--until-drained and --for exclude each other"},
		"drained without input":   {Options{File: "p", UntilDrained: true}, "--until-drained needs --input FILE or --input -"},
		"negative rate":           {Options{File: "p", Rate: -1}, "--rate -1: must not be negative"},
		"two kubernetes sources":  {Options{File: "p", Kubernetes: Kubernetes{"a", "b"}}, "--kubernetes-snapshot and --kubeconfig exclude each other"},
		"a console for everybody": {Options{File: "p", Console: "0.0.0.0:80"}, `--console "0.0.0.0:80" is no loopback address: the console shows events to everybody who reaches it; listen on 127.0.0.1 and reach it through a tunnel, such as ssh -L`},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.o.check()
			if err == nil || err.Error() != tc.want {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	if err := (&Options{File: "p", Input: "-", UntilDrained: true}).check(); err != nil {
		t.Errorf("valid options: %v", err)
	}
}

func TestGrouped(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234", -123: "-123"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d) = %q, want %q", n, got, want)
		}
	}
}
