package process

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// PeakMiB is the highest resident size that a process has had, in MiB.
func PeakMiB(pid int) (float64, error) {
	kib, err := memory(pid, "VmHWM")
	return kib / 1024, err
}

// ResidentKiB is the resident size of a process, in KiB.
func ResidentKiB(pid int) (float64, error) { return memory(pid, "VmRSS") }

// memory is a field of /proc/PID/status, in KiB.
func memory(pid int, field string) (kib float64, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			return strconv.ParseFloat(strings.Fields(rest)[0], 64)
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no %s", pid, field)
}
