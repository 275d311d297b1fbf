package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// record is what stands beside a file.
type record struct {
	// Lane is whose file it is, Place where that stands.
	Lane  string `json:"lane"`
	Place string `json:"place"`
	// Length of the file at that place, in bytes. What follows behind it does not count.
	Length int64 `json:"length"`
	// Number of files that were finished, and Since when the first row of this one was stored.
	Number int       `json:"number"`
	Since  time.Time `json:"since,omitzero"`
	// Finishing is the name that the file gets before anything else is done; empty = none.
	Finishing string `json:"finishing,omitempty"`
}

// names are the paths of one lane.
type names struct{ live, record, lock, stem, extension string }

// namesOf puts what tells a lane from the others before the extension of the path.
func namesOf(path, suffix string) names {
	dir, base := filepath.Split(path)
	stem, extension := base, ""
	if i := strings.IndexByte(base, '.'); i > 0 {
		stem, extension = base[:i], base[i:]
	}
	if suffix != "" {
		stem += "." + suffix
	}
	n := names{stem: dir + stem, extension: extension}
	n.live = n.stem + extension
	n.record, n.lock = n.live+".place", n.live+".lock"
	return n
}

// finished is the name of a file that is finished.
func (n names) finished(number int) string {
	return fmt.Sprintf("%s-%06d%s", n.stem, number, n.extension)
}

// read returns the record of a lane; ok is false when there is none yet.
func (n names) read(lane string) (r record, ok bool, err error) {
	content, err := os.ReadFile(n.record)
	if errors.Is(err, fs.ErrNotExist) {
		return record{Lane: lane}, false, nil
	}
	if err != nil {
		return r, false, err
	}
	if err := json.Unmarshal(content, &r); err != nil {
		return r, false, fmt.Errorf("read %s: %w", n.record, err)
	}
	if r.Lane != lane {
		return r, false, fmt.Errorf("%s is the file of %s, not of %s: choose another path", n.live, r.Lane, lane)
	}
	return r, true, nil
}

// write replaces the record, and returns when the disk has it.
func (n names) write(r record) error {
	content, err := json.Marshal(r)
	if err != nil {
		return err
	}
	temp := n.record + ".new"
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err = f.Write(append(content, '\n')); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, n.record); err != nil {
		return err
	}
	return n.syncDir()
}

// syncDir waits until the disk has the names of files.
func (n names) syncDir() error {
	dir, err := os.Open(filepath.Dir(n.live))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// locked calls f while it has the lock of the lane.
func (n names) locked(ctx context.Context, f func() error) error {
	lock, err := os.OpenFile(n.lock, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // nothing was written
	for {
		ok, err := tryLock(lock)
		if err != nil {
			return fmt.Errorf("lock %s: %w", n.lock, err)
		}
		if ok {
			return f()
		}
		wait := time.NewTimer(10 * time.Millisecond)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return fmt.Errorf("another worker has %s locked: %w", n.lock, ctx.Err())
		}
	}
}
