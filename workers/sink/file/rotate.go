package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// due says whether a file has reached its size or its age.
func (t *Target) due(r record, now time.Time) bool {
	c := &t.settings
	return r.Length > 0 && (c.RotateSize > 0 && r.Length >= c.RotateSize || c.RotateAge > 0 && !now.Before(r.Since.Add(c.RotateAge.D())))
}

// finish gives the file its final name. The record says so before, and that it is done afterwards: then alone there may be a new file.
func (n names) finish(r record) (record, error) {
	for {
		r.Number++
		r.Finishing = n.finished(r.Number)
		// A record that somebody has removed counts from 1 again.
		if _, err := os.Lstat(r.Finishing); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return r, err
		}
	}
	if err := n.write(r); err != nil {
		return r, err
	}
	return n.settle(r)
}

// settle ends what a crash may have interrupted.
func (n names) settle(r record) (record, error) {
	if r.Finishing == "" {
		return r, nil
	}
	info, err := os.Lstat(n.live)
	switch {
	case errors.Is(err, fs.ErrNotExist): // it has its name, or somebody has taken it away
	case err != nil:
		return r, err
	case info.Size() == 0: // somebody has taken what was in it
	case info.Size() < r.Length:
		return r, fmt.Errorf("finish a file: %w", spoiled(info, r))
	default:
		if err := n.rename(r, info.Size()); err != nil {
			return r, err
		}
	}
	r.Finishing, r.Length, r.Since = "", 0, time.Time{}
	return r, n.write(r)
}

// rename gives the file its final name, once the disk has it cut to its length.
func (n names) rename(r record, size int64) error {
	if size > r.Length {
		f, err := os.OpenFile(n.live, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		if err = f.Truncate(r.Length); err == nil {
			err = f.Sync()
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	if err := os.Rename(n.live, r.Finishing); err != nil {
		return err
	}
	return n.syncDir()
}

// age finishes files that are old while nothing comes. It takes no place from anybody: any worker may do it.
func (t *Target) age(ctx context.Context) {
	tick := time.NewTicker(min(max(t.settings.RotateAge.D()/10, 100*time.Millisecond), time.Minute))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		t.mu.Lock()
		lanes := make([]string, 0, len(t.lanes))
		for lane := range t.lanes {
			lanes = append(lanes, lane)
		}
		t.mu.Unlock()
		for _, lane := range lanes {
			if err := t.finishOld(ctx, lane); err != nil && ctx.Err() == nil {
				t.log.Warn("a file is old and cannot be finished; it is tried again", "lane", lane, "problem", err)
			}
		}
	}
}

func (t *Target) finishOld(ctx context.Context, lane string) error {
	n := t.names(lane)
	return n.locked(ctx, func() error {
		r, ok, err := n.read(lane)
		if err != nil || !ok {
			return err
		}
		if r, err = n.settle(r); err != nil || !t.due(r, t.now()) {
			return err
		}
		_, err = n.finish(r)
		return err
	})
}
