package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ticksPerSecond is the unit of CPU times in /proc, which is 100 on every Linux that Go runs on.
const ticksPerSecond = 100

// usage is the CPU time of this process and its children so far, in seconds, by name.
func usage() (map[string]float64, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	used := map[string]float64{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		name, pid, parent, cpu, err := parseStat(string(data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		switch os.Getpid() {
		case pid:
			used["benchmark"] += cpu
		case parent:
			used[name] += cpu
		}
	}
	return used, nil
}

// parseStat reads /proc/PID/stat. The name, in brackets, may hold anything: the other fields
// begin behind its end.
func parseStat(text string) (name string, pid, parent int, cpu float64, err error) {
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return "", 0, 0, 0, fmt.Errorf("%q is not what is expected", text)
	}
	const ppid, user, system = 1, 11, 12
	fields := strings.Fields(text[end+1:])
	if len(fields) <= system {
		return "", 0, 0, 0, fmt.Errorf("it has %d fields", len(fields))
	}
	var numbers [4]int
	for i, field := range []string{strings.TrimSpace(text[:open]), fields[ppid], fields[user], fields[system]} {
		if numbers[i], err = strconv.Atoi(field); err != nil {
			return "", 0, 0, 0, err
		}
	}
	return text[open+1 : end], numbers[0], numbers[1], float64(numbers[2]+numbers[3]) / ticksPerSecond, nil
}
