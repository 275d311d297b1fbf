package process

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func shell(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(Command{Path: "/bin/sh", Args: []string{"-c", script}, LogFile: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// output waits for the first line of the log.
func output(t *testing.T, p *Process) string {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if line, _, ok := strings.Cut(p.Tail(1000), "\n"); ok {
			return line
		}
	}
	t.Fatal("no output")
	return ""
}

func TestExitCode(t *testing.T) {
	p := shell(t, "exit 7")
	if code, signal := p.ExitCode(); code != 7 || signal != 0 {
		t.Errorf("got %d, %v; want 7", code, signal)
	}
	p = shell(t, "kill -9 $$")
	if code, signal := p.ExitCode(); code != 137 || signal != syscall.SIGKILL {
		t.Errorf("got %d, %v; want 137, killed", code, signal)
	}
}

func TestStopGivesGraceThenKills(t *testing.T) {
	p := shell(t, "trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done")
	output(t, p)
	if !p.Stop(10 * time.Second) {
		t.Error("a process that heeds SIGTERM was killed")
	}
	p = shell(t, "trap '' TERM; echo up; while :; do sleep 0.01; done")
	output(t, p)
	if p.Stop(50 * time.Millisecond) {
		t.Error("a process that ignores SIGTERM ended by itself")
	}
	if p.Running() {
		t.Error("the process survived Stop")
	}
}

func TestGroupDiesWithItsLeader(t *testing.T) {
	p := shell(t, "sleep 300 & echo $!; wait")
	child, err := strconv.Atoi(output(t, p))
	if err != nil {
		t.Fatal(err)
	}
	// Only the leader; the child is in its group.
	if err := syscall.Kill(p.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	for deadline := time.Now().Add(10 * time.Second); !gone(child); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the child outlived its group")
		}
	}
}

// gone also holds for a zombie that nobody has reaped yet.
func gone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(stat), ") Z ")
}

// TestPortsAreGivenOnce: a port that was given away is not given again, also when nobody listens on
// it yet.
func TestPortsAreGivenOnce(t *testing.T) {
	seen := map[int]bool{}
	for range 400 {
		port, err := FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] {
			t.Fatalf("port %d was given twice", port)
		}
		seen[port] = true
	}
}
