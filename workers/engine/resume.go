package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"millrace.dev/millrace/workers/config"
)

// resume has the lane begin by the config that the last step was decided by, when that step may be stored in
// part and the config is another one: an event of it that now went elsewhere would be lost, or be
// stored twice. The lane takes up its own config when it has come as far (renew). floors are what is
// acknowledged of each input, created when its consumer was made. The error is one of NATS, and the
// takeover is tried again.
//
// What was written before a consumer was made does not count: whoever makes one anew wants its input judged anew.
func (l *lane) resume(ctx context.Context, floors []uint64, created []time.Time) error {
	var last *track
	for _, tracks := range l.tracks {
		for _, t := range tracks {
			if t == nil {
				continue
			}
			for i, p := range t.packed {
				if p.seq <= floors[i] || t.written.Before(created[i]) {
					continue
				}
				l.judgedUpTo(i, p)
				if t.config != "" && (last == nil || t.written.After(last.written)) {
					last = t
				}
			}
		}
	}
	if last == nil || last.config == l.edition.hash {
		return nil
	}
	before, err := l.editionBefore(ctx, last.config)
	if err != nil || before == nil {
		return err
	}
	l.edition = before
	l.log.Info("the lane begins by the config of the worker before, until it has come as far", "lane", l.index, "config", last.config)
	return nil
}

// editionBefore makes an edition of a recorded config; nil when that cannot be done, and the log says why.
func (l *lane) editionBefore(ctx context.Context, hash string) (*edition, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	data, err := l.e.recorded(ctx, hash)
	if err != nil {
		return nil, fmt.Errorf("read the config of the worker before: %w", err)
	}
	before, err := l.e.editionFrom(data)
	if err != nil {
		l.log.Warn("the worker before decided by another config, which cannot be used: if it was killed in the middle of a step, events of that step may be lost or doubled between outputs",
			"lane", l.index, "config", hash, "error", err)
		return nil, nil
	}
	return before, nil
}

// editionFrom makes an edition of an encoded config; nil is one that is not there.
func (e *Engine) editionFrom(data []byte) (*edition, error) {
	if data == nil {
		return nil, errors.New("it is not recorded")
	}
	c, err := config.Parse(data)
	if err != nil {
		return nil, err
	}
	e.changing.Lock()
	defer e.changing.Unlock()
	before, err := e.editionLike(c)
	if err == nil { // under the name that it has, whatever this release would write
		before.encoded, before.hash = data, configHash(data)
	}
	return before, err
}
