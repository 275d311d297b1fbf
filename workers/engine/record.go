package engine

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/config"
)

// A worker that is killed in the middle of a step leaves it stored in part. Who takes the lane over
// judges the rest by the config that the step was judged by, should its own be another (resume.go).
// So every output names its config by a hash, and a config is recorded in the bucket of the leases
// before a lane decides by it.

// recordSlots is how many configs of a stage are kept, each under a key of its own,
// <stage>.config.<slot>: the newest ones.
const recordSlots = 8

// recordWait is for how long lanes wait for a config to be recorded. What cannot be recorded by then is
// used all the same: a worker that may not write there works, without this safety.
const recordWait = 2 * time.Second

// record is what stands in one slot; seq is 0 when it is empty.
type record struct {
	seq  uint64
	data []byte
}

// configHash names an encoded config in outputs.
func configHash(encoded []byte) string { return fmt.Sprintf("%.8x", sha256.Sum256(encoded)) }

// slotFor returns the slot in which a config is to be written, or -1 when it is the newest one
// already: its own, else an empty one, else that of the oldest.
func slotFor(slots [recordSlots]record, hash string) int {
	oldest, newest := 0, 0
	for i := range slots {
		if slots[i].seq < slots[oldest].seq {
			oldest = i
		}
		if slots[i].seq > slots[newest].seq {
			newest = i
		}
	}
	switch own := slotOf(slots, hash); own {
	case -1:
		return oldest
	case newest:
		return -1
	default:
		return own
	}
}

// slotOf returns the slot that holds a config, or -1.
func slotOf(slots [recordSlots]record, hash string) int {
	return slices.IndexFunc(slots[:], func(r record) bool { return r.seq > 0 && configHash(r.data) == hash })
}

// recordEvery is how often it is made sure that the config is there: the bucket may have been made anew.
const recordEvery = time.Minute

// keepRecords records the config that the engine begins with, and sees to it that the present one is there. Reload
// records what is new.
func (e *Engine) keepRecords(ctx context.Context) {
	e.changing.Lock()
	e.recording = true
	e.changing.Unlock()
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	for {
		e.recordLatest(ctx)
		select {
		case <-tick.C:
		case <-e.connected:
		case <-ctx.Done():
			return
		}
	}
}

// recordLatest records the config of the present edition, for which it waits a while, and has the lanes take it up.
func (e *Engine) recordLatest(ctx context.Context) {
	e.recordMu.Lock()
	defer e.recordMu.Unlock()
	n := e.edition.Load()
	if e.cfg.Leases != "" {
		e.say(e.recordWithin(ctx, n), n)
	}
	if e.usable.Swap(n) == nil {
		close(e.anyUsable)
	}
}

// say logs what became of a record, when that is new.
func (e *Engine) say(err error, n *edition) {
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	switch {
	case problem != "" && (problem != e.unrecorded || n != e.usable.Load()):
		e.log.Warn("the config could not be recorded; the worker goes on without", "subject", e.recordSubject("*"), "error", err)
	case problem == "" && e.unrecorded != "":
		e.log.Info("the config is recorded", "config", n.hash)
	}
	e.unrecorded = problem
}

// recordWithin records the config of n, and gives up when that takes too long or can never be.
func (e *Engine) recordWithin(ctx context.Context, n *edition) error {
	ctx, cancel := context.WithTimeout(ctx, recordWait)
	defer cancel()
	for failures := 0; ; failures++ {
		err := e.record(ctx, n)
		if err == nil || errors.Is(err, errRecordTooLarge) {
			return err
		}
		select {
		case <-time.After(backoff(20*time.Millisecond, time.Second, failures, e.jitter())):
		case <-ctx.Done():
			return err
		}
	}
}

var (
	errRecordRace     = errors.New("another worker wrote first")
	errRecordTooLarge = errors.New("the config is larger than a value of the bucket may be")
)

// record writes the config of n, unless it is the newest record already.
func (e *Engine) record(ctx context.Context, n *edition) error {
	slots, err := e.records(ctx)
	if err != nil {
		return err
	}
	i := slotFor(slots, n.hash)
	if i < 0 {
		return nil
	}
	m := nats.NewMsg(e.domain.Put(e.cfg.Leases, e.recordKey(strconv.Itoa(i))))
	m.Data = n.encoded
	m.Header.Set(headerExpected, strconv.FormatUint(slots[i].seq, 10))
	answer, err := e.conn.RequestMsgWithContext(ctx, m)
	if err != nil {
		return err
	}
	switch ack := readPubAck(answer); {
	case ack.code == codeWrongLastSequence || ack.code == codeWrongLastSequenceNow:
		return errRecordRace
	case ack.code == codeMessageTooLarge:
		return errRecordTooLarge
	case ack.problem != "":
		return errors.New(ack.problem)
	}
	return nil
}

func (e *Engine) recordSubject(slot string) string {
	return config.KeySubject(e.cfg.Leases, e.recordKey(slot))
}

func (e *Engine) recordKey(slot string) string { return e.cfg.Stage + ".config." + slot }

// records reads all slots, side by side.
func (e *Engine) records(ctx context.Context) (slots [recordSlots]record, err error) {
	var errs [recordSlots]error
	var all sync.WaitGroup
	for i := range slots {
		all.Go(func() {
			m, err := e.lastStored(ctx, "KV_"+e.cfg.Leases, e.recordSubject(strconv.Itoa(i)))
			slots[i], errs[i] = record{m.seq, m.data}, err
		})
	}
	all.Wait()
	return slots, errors.Join(errs[:]...)
}

// recorded reads the encoded config that outputs name by hash; nil when it is not there.
func (e *Engine) recorded(ctx context.Context, hash string) ([]byte, error) {
	slots, err := e.records(ctx)
	if err != nil {
		return nil, err
	}
	if i := slotOf(slots, hash); i >= 0 {
		return slots[i].data, nil
	}
	return nil, nil
}
