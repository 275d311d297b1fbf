package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// file is one series of the corpus with its labels.
type file struct {
	name    string
	times   []time.Time
	values  []float64
	windows []window
}

// load reads the files that there are; missing is how many labelled ones there are not.
func load(folder string) (files []file, missing int, err error) {
	b, err := os.ReadFile(filepath.Join(folder, "labels", "combined_windows.json"))
	if err != nil {
		return nil, 0, err
	}
	var labels map[string][][2]string
	if err := json.Unmarshal(b, &labels); err != nil {
		return nil, 0, fmt.Errorf("read labels: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		f, err := loadFile(folder, name, labels[name])
		if errors.Is(err, fs.ErrNotExist) {
			missing++
			continue
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read %s: %w", name, err)
		}
		files = append(files, f)
	}
	return files, missing, nil
}

func loadFile(folder, name string, labels [][2]string) (file, error) {
	f := file{name: name}
	in, err := os.Open(filepath.Join(folder, "data", name))
	if err != nil {
		return f, err
	}
	rows, err := csv.NewReader(in).ReadAll()
	if err := errors.Join(err, in.Close()); err != nil {
		return f, err
	}
	for _, row := range rows[1:] { // the first names the columns
		at, err := time.Parse(time.DateTime, row[0])
		if err != nil {
			return f, err
		}
		v, err := strconv.ParseFloat(row[1], 64)
		if err != nil {
			return f, err
		}
		f.times, f.values = append(f.times, at), append(f.values, v)
	}
	for _, l := range labels {
		w, err := f.window(l)
		if err != nil {
			return f, err
		}
		f.windows = append(f.windows, w)
	}
	return f, nil
}

// window finds the rows of a label.
func (f *file) window(label [2]string) (w window, err error) {
	from, err := time.Parse(time.DateTime, label[0])
	if err != nil {
		return w, err
	}
	to, err := time.Parse(time.DateTime, label[1])
	if err != nil {
		return w, err
	}
	w.first = slices.IndexFunc(f.times, func(t time.Time) bool { return !t.Before(from) })
	for w.last = len(f.times) - 1; w.last > 0 && f.times[w.last].After(to); {
		w.last--
	}
	if w.first < 0 || w.last <= w.first {
		return w, fmt.Errorf("no rows between %s and %s", label[0], label[1])
	}
	return w, nil
}
