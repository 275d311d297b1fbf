package pipeline

import (
	"testing"
	"time"
)

// TestRecent: a Stage is new once, however often an apply answers that it made it. What is long past is forgotten.
func TestRecent(t *testing.T) {
	var r recent
	if !r.first("a", began) || !r.first("b", began) || r.first("a", began.Add(time.Second)) {
		t.Error("a Stage is new twice, or never")
	}
	if !r.first("c", began.Add(2*time.Minute)) || len(r.made) != 1 {
		t.Errorf("remembers %v", r.made)
	}
}
