package correlate

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// maxAilments bounds what is waited for. What finds no room ends by the idle time-out alone.
const maxAilments = 100_000

// conditionGrain is how far the time of a recovery may seem to lie before the symptom that it ends: conditions
// of Kubernetes have whole seconds.
const conditionGrain = time.Second

// ailment is an object that is ill, from its first symptom to its recovery.
type ailment struct {
	self, uid, cluster string
	scopes             []string // self and its workload: whose recovery ends it
	last               int64    // the time of the last symptom
	crash              int64    // the time of the last crash of a loop
	inc                *incident
}

// ailments are found by their scopes.
type ailments struct {
	by map[string][]*ailment
	n  int
}

func (l *ailments) add(a *ailment) {
	l.n++
	for _, key := range a.scopes {
		l.by[key] = append(l.by[key], a)
	}
}

func (l *ailments) remove(a *ailment) {
	l.n--
	for _, key := range a.scopes {
		list := l.by[key]
		if i := slices.Index(list, a); i >= 0 {
			list = slices.Delete(list, i, i+1)
		}
		if len(list) == 0 {
			delete(l.by, key)
		} else {
			l.by[key] = list
		}
	}
}

// ail notes that o's object is ill: the incident lasts until it recovers.
func (r *realtime) ail(inc *incident, o *observation) {
	if o.self == "" || o.ended || inc.closed || !telling(o) {
		return
	}
	if o.signal == signalCrashLoop && !ofJob(o) && slices.Contains(inc.healed, o.self) { // what was well for a moment is no hiccup
		o.urgent = true
	}
	for _, a := range r.ailing.by[o.self] {
		if a.self == o.self && a.inc.find() == inc && !differ(a.uid, o.entity.GetUid()) && !differ(a.cluster, o.cluster) {
			a.see(o)
			a.uid = cmp.Or(a.uid, o.entity.GetUid())
			return
		}
	}
	if r.ailing.n >= maxAilments {
		return
	}
	a := &ailment{self: o.self, uid: o.entity.GetUid(), cluster: o.cluster, inc: inc, scopes: []string{o.self}}
	a.see(o)
	if key := o.keys[sameWorkload]; key != "" && key != o.self {
		a.scopes = append(a.scopes, key)
	}
	r.ailing.add(a)
	inc.ailing = append(inc.ailing, a)
	inc.checks = 0
}

// see notes a symptom.
func (a *ailment) see(o *observation) {
	a.last = max(a.last, o.time)
	if o.signal == signalCrashLoop && o.time%int64(conditionGrain) == 0 { // when a process ended, not an Event about its back-off
		a.crash = max(a.crash, o.time)
	}
}

// outlives says whether the recovery o, though it came later, is older than what is ill. The time of a recovery may
// seem to lie up to a second before the symptom that it ends. Not so after the crash of a loop: a back-off follows,
// so the pod that was ready in the same second was ready before it crashed.
func (a *ailment) outlives(o *observation) bool {
	return o.signal != signalDeleted && (o.time+int64(conditionGrain) <= a.last || o.entity.GetKind() == "Pod" && o.time <= a.crash)
}

// recover ends what o says is well again or gone.
func (r *realtime) recover(o *observation) {
	for _, key := range o.recovers() {
		for _, a := range slices.Clone(r.ailing.by[key]) {
			if differ(a.cluster, o.cluster) || a.self == key && differ(a.uid, o.entity.GetUid()) || a.outlives(o) {
				continue
			}
			r.heal(a, o)
		}
	}
}

// recovers are the scopes whose ailments end with o. A run of a CronJob that succeeds also ends what the runs
// before it went through.
func (o *observation) recovers() []string {
	switch o.entity.GetKind() {
	case "Pod":
		return []string{o.keys[samePod]}
	case "Node":
		var keys []string
		for _, s := range [...]signal{signalNodeNotReady, signalNodePressure} {
			if o.signal == signalDeleted || (s == signalNodePressure) == (o.kind == typePressureEnded) {
				keys = append(keys, nodeSelf(o.keys[sameNode], s))
			}
		}
		return keys
	}
	keys := []string{o.self}
	if o.signal == signalRecovered && o.keys[sameWorkload] != o.self {
		keys = append(keys, o.keys[sameWorkload])
	}
	return keys
}

// ends says whether the recovery x is one of the object of o.
func ends(x, o *observation) bool {
	return slices.Contains(x.recovers(), o.self) && sameUID(x, o) && !differ(x.cluster, o.cluster)
}

// heal ends one ailment. The incident is over soon when it was the last.
func (r *realtime) heal(a *ailment, o *observation) {
	inc := a.inc.find()
	r.ailing.remove(a)
	inc.ailing = slices.DeleteFunc(inc.ailing, func(b *ailment) bool { return b == a })
	for _, e := range inc.events {
		if e.self == a.self && !differ(e.entity.GetUid(), a.uid) && e.time < o.time+int64(conditionGrain) {
			e.ended = true
		}
	}
	if len(inc.healed) < maxAffected && !slices.Contains(inc.healed, a.self) {
		inc.healed = append(inc.healed, a.self)
	}
	inc.mender, inc.quiet = o, r.in(quiet)
	inc.seen, inc.joined = max(inc.seen, o.seen), max(inc.joined, r.clock.latest)
	o.incident = inc
	r.touch(inc)
}

// release forgets what an incident waits for.
func (r *realtime) release(inc *incident) {
	for _, a := range inc.ailing {
		r.ailing.remove(a)
	}
	inc.ailing = nil
}

// recovering says whether all that was ill is well again.
func (i *incident) recovering() bool { return i.mender != nil && len(i.ailing) == 0 }

// mendedBefore says whether a recovery of o's object or workload came first, though it happened later.
func (r *realtime) mendedBefore(o *observation) bool {
	if o.self == "" {
		return false
	}
	for _, s := range [...]signal{signalDeleted, signalRecovered} {
		for x := range r.memory.of(o.memoryKey(), s) {
			if ends(x, o) && (x.time > o.time || s == signalDeleted && x.entity.GetUid() == o.entity.GetUid() && o.entity.GetUid() != "") {
				return true
			}
		}
		for x := range r.memory.of(o.keys[sameWorkload], s) {
			if x.time > o.time && x.entity.GetKind() != "Pod" && !differ(x.cluster, o.cluster) && (s == signalRecovered || x.self == o.keys[sameWorkload]) {
				return true
			}
		}
	}
	return false
}

// relapses is how often what was ill in an incident was well for a while and fell ill again, as far as is
// remembered. A while is a third of the quiet time, which is long enough for what is well for less: a process that
// crash-loops is ready for a moment at each start. What is gone does not count.
func (r *realtime) relapses(inc *incident) (most int) {
	for _, self := range inc.healed {
		n, well, since := 0, true, int64(0)
		type turn struct {
			at    int64
			well  bool
			crash bool // of a loop
		}
		var turns []turn
		gone := false
		key, _, _ := strings.Cut(self, "\x00")
		for x := range r.memory.all(key) {
			switch {
			case x.signal == signalDeleted && slices.Contains(x.recovers(), self):
				gone = true
			case x.signal == signalRecovered && slices.Contains(x.recovers(), self):
				turns = append(turns, turn{at: x.time, well: true})
			case x.self == self && telling(x):
				turns = append(turns, turn{at: x.time, crash: x.signal == signalCrashLoop && x.time%int64(conditionGrain) == 0})
			}
		}
		if gone {
			continue
		}
		slices.SortStableFunc(turns, func(a, b turn) int {
			if c := cmp.Compare(a.at, b.at); c != 0 || a.well == b.well {
				return c
			}
			// In the same second a symptom comes before its recovery, but a pod was ready before it crashed: see outlives.
			if b.well != (a.crash || b.crash) {
				return -1
			}
			return 1
		})
		for _, t := range turns {
			switch {
			case t.well && !well:
				since = t.at
			case !t.well && well && since != 0 && t.at-since >= int64(quiet)/3:
				n++
			}
			well = t.well
		}
		most = max(most, n)
	}
	return most
}
