//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package file

import (
	"errors"
	"os"
)

// tryLock needs flock.
func tryLock(*os.File) (bool, error) { return false, errors.New("this system has no flock") }
