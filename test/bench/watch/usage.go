package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ticksPerSecond is the unit of CPU times in /proc, which is 100 on every Linux that Go runs on.
const ticksPerSecond = 100

// usage is the user and system time of processes so far, in seconds.
func usage(pids []int) (all []float64, err error) {
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return nil, err
		}
		text := string(data) // the name, in brackets, may hold anything: the fields begin behind its end
		fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		const user, system = 11, 12
		if len(fields) <= system {
			return nil, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
		}
		sum := 0
		for _, f := range []string{fields[user], fields[system]} {
			n, err := strconv.Atoi(f)
			if err != nil {
				return nil, err
			}
			sum += n
		}
		all = append(all, float64(sum)/ticksPerSecond)
	}
	return all, nil
}
