package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// lockFile is what a run locks in its directory. It stays there: one that is removed could be locked
// by a run that has opened it before, beside a new one.
const lockFile = "millrace-run.lock"

var errLocked = errors.New("another run is at work there: wait until it has ended, or name another directory")

// storeDir makes the directory of the streams, a temporary one when dir is empty, and keeps other
// runs out of it until it is released: the server itself would let a second one in.
func storeDir(dir string) (_ string, release func(), err error) {
	if dir == "" {
		dir, err := os.MkdirTemp("", "millrace-run-")
		if err != nil {
			return "", nil, fmt.Errorf("make a directory for the streams: %w", err)
		}
		return dir, func() { _ = os.RemoveAll(dir) }, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, fmt.Errorf("--store-dir: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return "", nil, fmt.Errorf("--store-dir: %w", err)
	}
	if err := lock(f); err != nil {
		_ = f.Close()
		return "", nil, fmt.Errorf("--store-dir %s: %w", dir, err)
	}
	return dir, func() { _ = f.Close() }, nil
}
