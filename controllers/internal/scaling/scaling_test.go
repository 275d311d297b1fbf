package scaling

import (
	"strings"
	"testing"
	"time"
)

func TestWanted(t *testing.T) {
	lag := Policy{Min: 1, Max: 10, Lanes: 8, TargetLag: 1000}
	drain := Policy{Min: 1, Max: 10, Lanes: 16, TargetDrain: 10 * time.Second}
	zero := Policy{Min: 0, Max: 10, Lanes: 8, TargetLag: 1000}
	const minute = time.Minute
	tests := map[string]struct {
		policy Policy
		load   Load
		want   int32
		reason string
	}{
		"no lag":                        {lag, Load{Workers: 1}, 1, "at least 1"},
		"lag of one worker":             {lag, Load{Lag: 1000, Workers: 1}, 1, "1000 events of lag at 1000 for each worker: 1"},
		"one event more":                {lag, Load{Lag: 1001, Workers: 1}, 2, "1001 events of lag at 1000 for each worker: 2"},
		"default target":                {Policy{Min: 1, Max: 4, Lanes: 4}, Load{Lag: 5001}, 2, "at 5000 for each worker"},
		"no more than the lanes":        {lag, Load{Lag: 1_000_000}, 8, "at most 8, since the stage has no more lanes"},
		"no more than max":              {Policy{Min: 1, Max: 4, Lanes: 8, TargetLag: 1}, Load{Lag: 100}, 4, "at most 4 (workers.max)"},
		"min beyond the lanes":          {Policy{Min: 10, Max: 12, Lanes: 8, TargetLag: 1}, Load{Lag: 100}, 10, "at most 10"},
		"never less than min":           {Policy{Min: 3, Max: 9, Lanes: 8, TargetLag: 1000}, Load{}, 3, "at least 3"},
		"a number beyond any":           {lag, Load{Lag: 1 << 62}, 8, "at most 8"},
		"arrivals keep workers":         {lag, Load{Lag: 10, Arrival: 2500, Rate: 1000, Workers: 4}, 3, "2500 events/s come in, and a worker gets through 1000/s: 3 have to stay"},
		"but bring none":                {lag, Load{Lag: 10, Arrival: 2500, Rate: 1000, Workers: 2}, 2, "2 have to stay"},
		"a tenth is headroom":           {lag, Load{Arrival: 950, Rate: 1000, Workers: 2}, 2, "2 have to stay"},
		"below it one goes":             {lag, Load{Arrival: 890, Rate: 1000, Workers: 2}, 1, "1 have to stay"},
		"unknown rate keeps nobody":     {lag, Load{Arrival: 2500, Workers: 4}, 1, "at least 1"},
		"idle, but not for long":        {zero, Load{Workers: 1, Idle: minute, IdleAfter: 2 * minute}, 1, "at least 1"},
		"idle":                          {zero, Load{Workers: 1, Idle: 2 * minute, IdleAfter: 2 * minute}, 0, "there was no lag for 2m0s"},
		"stays at zero":                 {zero, Load{IdleAfter: minute}, 0, "scaled to zero: there is no lag"},
		"from zero with one event":      {zero, Load{Lag: 1, IdleAfter: minute}, 1, "1 events of lag"},
		"from zero with many":           {zero, Load{Lag: 3500, IdleAfter: minute}, 4, "3500 events of lag"},
		"drain, rate unknown":           {drain, Load{Lag: 1_000_000, Workers: 3}, 3, "not known yet: 3 stay"},
		"drain, rate unknown, none":     {drain, Load{Lag: 1}, 1, "not known yet: 1 stay"},
		"drain, arrivals alone":         {drain, Load{Arrival: 3000, Rate: 1000, Workers: 1}, 3, "3000 events/s come in and 0 are to be worked off in 10s, at 1000/s for each worker: 3"},
		"drain, arrivals and backlog":   {drain, Load{Lag: 25_000, Arrival: 3000, Rate: 1000, Workers: 1}, 6, "at 1000/s for each worker: 6"},
		"drain, clamped":                {drain, Load{Lag: 1_000_000, Rate: 1000}, 10, "at most 10 (workers.max)"},
		"drain to zero":                 {Policy{Max: 3, Lanes: 3, TargetDrain: minute}, Load{Workers: 1, Idle: minute, IdleAfter: minute}, 0, "scaled to zero"},
		"drain keeps a little headroom": {drain, Load{Lag: 0, Arrival: 2900, Rate: 1000, Workers: 4}, 4, "4 have to stay"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := Wanted(test.policy, test.load)
			if got.Workers != test.want || !strings.Contains(got.Reason, test.reason) {
				t.Errorf("got %d (%s), want %d (%s)", got.Workers, got.Reason, test.want, test.reason)
			}
		})
	}
}

var start = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// stage is a stage in which events arrive and workers work, a frame at a time.
type stage struct {
	now      time.Time
	acked    float64
	lag      float64
	perFrame float64
}

// run lets two seconds pass.
func (s *stage) run(arrival, rate float64, workers int32) Sample {
	const seconds = 2.0
	s.now = s.now.Add(2 * time.Second)
	done := min(s.lag+arrival*seconds, rate*float64(workers)*seconds)
	s.lag += arrival*seconds - done
	s.acked += done
	return Sample{
		At: s.now, Acked: uint64(s.acked / s.perFrame), Outstanding: uint64(s.lag / s.perFrame),
		Lag: int64(s.lag), PerMessage: s.perFrame, Ready: workers,
	}
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if got < want*0.9 || got > want*1.1 {
		t.Errorf("%s: got %.0f, want about %.0f", what, got, want)
	}
}

func TestEstimate(t *testing.T) {
	s := stage{now: start, perFrame: 100}
	var e Estimate
	for range 30 {
		e = e.Learn(s.run(5000, 2000, 1))
	}
	near(t, "arrival with a backlog", e.Arrival, 5000)
	near(t, "rate of the one worker", e.Rate, 2000)
	for range 60 {
		e = e.Learn(s.run(5000, 2000, 4))
	}
	near(t, "rate of each of four", e.Rate, 2000)
	for range 120 {
		e = e.Learn(s.run(5000, 2000, 4))
	}
	near(t, "rate without a backlog", e.Rate, 2000)
	near(t, "arrival without a backlog", e.Arrival, 5000)
	for range 200 {
		e = e.Learn(s.run(0, 2000, 4))
	}
	if e.Arrival != 0 {
		t.Errorf("arrival of an idle stage: got %v, want 0", e.Arrival)
	}
	near(t, "rate of an idle stage", e.Rate, 2000)
}

// TestFirstMeasurementsCount: after a few seconds the numbers are right already.
func TestFirstMeasurementsCount(t *testing.T) {
	s := stage{now: start, perFrame: 10}
	var e Estimate
	for range 3 {
		e = e.Learn(s.run(5000, 2000, 1))
	}
	near(t, "arrival", e.Arrival, 5000)
	near(t, "rate", e.Rate, 2000)
}

func TestEstimateLeavesOutWhatMisleads(t *testing.T) {
	before := Sample{At: start, Acked: 1000, Outstanding: 100, Lag: 100, PerMessage: 1, Ready: 1}
	after := Sample{At: start.Add(2 * time.Second), Acked: 3000, Outstanding: 5000, Lag: 5000, PerMessage: 1, Ready: 1}
	tests := map[string]func(*Sample){
		"consumer made anew": func(s *Sample) { s.Acked = 10 },
		"redelivery":         func(s *Sample) { s.Redelivered = 1 },
		"a long gap":         func(s *Sample) { s.At = start.Add(time.Hour) },
		"the clock went":     func(s *Sample) { s.At = start },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			s := after
			change(&s)
			e := Known(700).Learn(before).Learn(s)
			if e.Arrival != 0 || e.Rate != 700 {
				t.Errorf("got arrival %.0f and rate %.0f, want 0 and 700", e.Arrival, e.Rate)
			}
		})
	}
	t.Run("workers changed", func(t *testing.T) {
		s := after
		s.Ready = 2
		if e := Known(700).Learn(before).Learn(s); e.Rate != 700 || e.Arrival == 0 {
			t.Errorf("got arrival %.0f and rate %.0f, want the arrival alone", e.Arrival, e.Rate)
		}
	})
}

// TestSteadyLoadDoesNotFlap runs the control loop as the operator does: load that one worker cannot
// carry, for an hour.
func TestSteadyLoadDoesNotFlap(t *testing.T) {
	policies := map[string]Policy{
		"lag":   {Min: 1, Max: 8, Lanes: 8, TargetLag: 5000},
		"drain": {Min: 1, Max: 8, Lanes: 8, TargetDrain: 30 * time.Second},
	}
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			s := stage{now: start, perFrame: 100}
			var e Estimate
			var w Window
			workers, changes, late := int32(1), 0, 0
			for i := range 1800 {
				sample := s.run(5000, 2000, workers)
				e = e.Learn(sample)
				d := Wanted(policy, Load{Lag: sample.Lag, Arrival: e.Arrival, Rate: e.Rate, Workers: workers})
				n := w.Settle(s.now, workers, d.Workers, 5*time.Minute)
				if n != workers {
					changes++
					if i > 600 {
						late++
					}
				}
				workers = n
			}
			t.Logf("%d workers after an hour, %d changes, %d of them after 20 minutes, lag %.0f", workers, changes, late, s.lag)
			if late > 0 || workers < 3 || s.lag > 5000 {
				t.Errorf("got %d workers, %d late changes, lag %.0f; want at least 3, 0 and little", workers, late, s.lag)
			}
		})
	}
}

func TestSettle(t *testing.T) {
	type step struct {
		after        time.Duration
		wanted, want int32
	}
	tests := map[string][]step{
		"grows in steps":                {{0, 20, 5}, {2 * time.Second, 20, 5}, {16 * time.Second, 20, 10}, {16 * time.Second, 20, 20}},
		"falls when nobody wanted more": {{0, 4, 4}, {time.Minute, 2, 4}, {3 * time.Minute, 1, 4}, {119 * time.Second, 1, 2}, {4 * time.Minute, 1, 1}},
		"a dip changes nothing":         {{0, 4, 4}, {time.Minute, 1, 4}, {time.Minute, 4, 4}, {4 * time.Minute, 1, 4}},
		"to zero and back":              {{0, 1, 1}, {time.Second, 0, 0}, {time.Second, 3, 3}},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			var w Window
			now, current := start, int32(1)
			for i, s := range steps {
				now = now.Add(s.after)
				current = w.Settle(now, current, s.wanted, 5*time.Minute)
				if current != s.want {
					t.Fatalf("step %d: got %d, want %d", i, current, s.want)
				}
			}
		})
	}
}
