package apply

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestBehind(t *testing.T) {
	for name, tc := range map[string]struct {
		cached, wrote string
		ago           time.Duration
		want          bool
	}{
		"nothing was written":       {cached: "99"},
		"before what was written":   {cached: "99", wrote: "100", want: true},
		"what was written":          {cached: "100", wrote: "100"},
		"after what was written":    {cached: "101", wrote: "100"},
		"the API server was reset":  {cached: "7", wrote: "100", ago: time.Minute},
		"versions are not in order": {cached: "x", wrote: "100"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := New(nil, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			if tc.wrote != "" {
				a.written.Add("uid", written{tc.wrote, time.Now().Add(-tc.ago)})
			}
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "uid", ResourceVersion: tc.cached}}
			if got := a.Behind(pod); got != tc.want {
				t.Errorf("Behind = %t, want %t", got, tc.want)
			}
		})
	}
}
