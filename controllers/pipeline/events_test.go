package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/lifecycle"
)

// notes is a recorder of what the API server would be sent.
type notes []string

func (n *notes) Eventf(_, _ runtime.Object, _, _, _, note string, args ...any) {
	*n = append(*n, fmt.Sprintf(note, args...))
}

// TestLongListIsCutAndLogged: of a pipeline with many streams the Event names some, the log all.
func TestLongListIsCutAndLogged(t *testing.T) {
	var names []string
	p := &v1alpha1.Pipeline{}
	for i := range 40 {
		names = append(names, fmt.Sprintf("%s_%d", strings.Repeat("LONG", 10), i))
		p.Status.Streams = append(p.Status.Streams, v1alpha1.StreamStatus{Name: names[i]})
	}
	for name, tell := range map[string]func(context.Context, *Reconciler){
		"deleted":     func(ctx context.Context, r *Reconciler) { r.eventStreamsDeleted(ctx, p, names) },
		"kept":        func(ctx context.Context, r *Reconciler) { r.eventStreamsRetained(ctx, p) },
		"left behind": func(ctx context.Context, r *Reconciler) { r.eventLeftBehind(ctx, p, errors.New("NATS is away")) },
	} {
		t.Run(name, func(t *testing.T) {
			var got notes
			var logged strings.Builder
			logger := funcr.New(func(_, args string) { logged.WriteString(args) }, funcr.Options{})
			tell(log.IntoContext(t.Context(), logger), &Reconciler{Controller: lifecycle.Controller{Recorder: &got}})
			if len(got) != 1 {
				t.Fatalf("got %d Events, want one", len(got))
			}
			if note := got[0]; len(note) > 1024 || !strings.HasSuffix(note, "…") || !strings.Contains(note, names[0]) {
				t.Errorf("got a note of %d bytes: %q", len(note), note)
			}
			for _, stream := range names {
				if !strings.Contains(logged.String(), stream) {
					t.Errorf("the log does not name %s", stream)
				}
			}
		})
	}
}
