package kubernetes

import (
	"errors"
	"strings"
	"testing"
)

func TestCommandErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
		code int
	}{
		"no cluster":       {nil, "--cluster is missing", 2},
		"no subject":       {[]string{"--cluster", "x", "--subject", ""}, "--subject is empty", 2},
		"wildcard":         {[]string{"--cluster", "x", "--subject", "events.raw.>"}, `--subject is "events.raw.>": want one subject`, 2},
		"negative history": {[]string{"--cluster", "x", "--history", "-1h"}, "--history is -1h0m0s", 2},
		"no kubeconfig":    {[]string{"--cluster", "x", "--kubeconfig", "/nowhere"}, "find the cluster: ", 1},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := Command()
			cmd.SetArgs(tc.args)
			cmd.SetErr(t.Output())
			cmd.SilenceErrors = true
			err := cmd.ExecuteContext(t.Context())
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
			code := 1
			var coded interface{ ExitCode() int }
			if errors.As(err, &coded) {
				code = coded.ExitCode()
			}
			if code != tc.code {
				t.Errorf("exit code: got %d, want %d", code, tc.code)
			}
		})
	}
}
