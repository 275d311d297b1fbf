package node

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// file of a volume.
type file struct {
	data []byte
	mode fs.FileMode
}

// dataLink points at the folder with the current files, as in a kubelet's
// volume: readers see all of an update or nothing of it.
const dataLink = "..data"

// writeAtomically replaces the content of a volume. The visible names are
// links through dataLink, which is switched in one rename.
func writeAtomically(dir string, files map[string]file) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	current, err := os.MkdirTemp(dir, "..v")
	if err != nil {
		return err
	}
	if err := os.Chmod(current, 0o755); err != nil {
		return err
	}
	top := map[string]bool{}
	for name, f := range files {
		path := filepath.Join(current, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.data, f.mode); err != nil {
			return err
		}
		first, _, _ := strings.Cut(name, "/")
		top[first] = true
	}
	previous, _ := os.Readlink(filepath.Join(dir, dataLink))
	temporary := filepath.Join(dir, "..data_tmp")
	if err := os.Symlink(filepath.Base(current), temporary); err != nil {
		return err
	}
	if err := os.Rename(temporary, filepath.Join(dir, dataLink)); err != nil {
		return err
	}
	if err := linkNames(dir, top); err != nil {
		return err
	}
	if previous == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, previous))
}

// linkNames makes a link for each name and removes those of other names.
func linkNames(dir string, names map[string]bool) error {
	for name := range names {
		err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		stale := !strings.HasPrefix(entry.Name(), "..") && !names[entry.Name()] && entry.Type()&fs.ModeSymlink != 0
		if !stale {
			continue
		}
		target, err := os.Readlink(filepath.Join(dir, entry.Name()))
		if err != nil || !strings.HasPrefix(target, dataLink) {
			continue // a link of an inner mount
		}
		if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}
