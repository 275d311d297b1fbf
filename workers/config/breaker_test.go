package config

import (
	"strings"
	"testing"
	"time"
)

func TestBreakerCheck(t *testing.T) {
	for want, change := range map[string]func(*Breaker){
		"": func(*Breaker) {},
		"breaker.failureRatio: is 0, must be above 0":        func(b *Breaker) { b.FailureRatio = 0 },
		"breaker.failureRatio: is 1.5, must be above 0":      func(b *Breaker) { b.FailureRatio = 1.5 },
		"breaker.slowRatio: is 0, must be above 0":           func(b *Breaker) { b.SlowAfter = 1 },
		"breaker: window is 0s and openFor 1s, must be":      func(b *Breaker) { b.Window = 0 },
		"breaker: window is 1s and openFor -1s, must be":     func(b *Breaker) { b.OpenFor = Duration(-time.Second) },
		"breaker: minCalls is 0 and trialCalls 1, must be":   func(b *Breaker) { b.MinCalls = 0 },
		"breaker: minCalls is 1 and trialCalls -1, must be ": func(b *Breaker) { b.TrialCalls = -1 },
	} {
		b := &Breaker{FailureRatio: 1, Window: Duration(time.Second), OpenFor: Duration(time.Second), MinCalls: 1, TrialCalls: 1}
		change(b)
		err := b.Check()
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if err := (*Breaker)(nil).Check(); err != nil {
		t.Errorf("no breaker: %v", err)
	}
}
