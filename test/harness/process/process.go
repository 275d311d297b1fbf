package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// Command says what to run.
type Command struct {
	// Name is used in error messages. Default: the base name of Path.
	Name string
	// Path of the executable. A name without a slash is looked up in the
	// PATH of this process.
	Path string
	Args []string
	// Env of the child, whole: nothing is inherited. Nil inherits all.
	Env []string
	Dir string
	// User runs the child as another user, which takes root; 0 = as this process. For programs that refuse root.
	User uint32
	// LogFile receives stdout and stderr, appended.
	LogFile string
}

// Process is a started child. Its methods may be called from any goroutine.
type Process struct {
	name    string
	logFile string
	cmd     *exec.Cmd
	done    chan struct{}
}

// Start runs the command as leader of a process group of its own. It fails
// when the log file cannot be opened or the executable cannot be started.
func Start(c Command) (*Process, error) {
	if c.Name == "" {
		c.Name = filepath.Base(c.Path)
	}
	log, err := os.OpenFile(c.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	defer log.Close() //nolint:errcheck // the child holds its own descriptor

	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env, cmd.Dir = c.Env, c.Dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = sysProcAttr()
	if c.User != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: c.User, Gid: c.User}
	}
	p := &Process{name: c.Name, logFile: c.LogFile, cmd: cmd, done: make(chan struct{})}

	started := make(chan error, 1)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	return p, nil
}

// run starts and waits on one locked thread: the kernel sends the parent
// death signal when the thread that forked ends, not the process.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	_ = p.cmd.Wait() // the exit status is read from ProcessState
	// At once, while the number of the group can hardly be in use again:
	// end what the leader left behind.
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	close(p.done)
}

// Pid of the child, which is also the id of its process group.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the child has ended and was reaped.
func (p *Process) Done() <-chan struct{} { return p.done }

// LogFile is the path that holds stdout and stderr.
func (p *Process) LogFile() string { return p.logFile }

// Running reports whether the child still runs.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// ExitCode is the exit code after Done, as a container runtime reports it:
// 128 plus the signal number when a signal ended the child. The second result
// is the signal, 0 for a plain exit.
func (p *Process) ExitCode() (int, syscall.Signal) {
	<-p.done
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return 128 + int(status.Signal()), status.Signal()
	}
	return p.cmd.ProcessState.ExitCode(), 0
}

// Signal sends a signal to the whole process group. An ended child is no
// error.
func (p *Process) Signal(s syscall.Signal) error {
	if !p.Running() {
		return nil
	}
	err := syscall.Kill(-p.Pid(), s)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// Kill sends SIGKILL to the group and waits for the child to be reaped.
func (p *Process) Kill() {
	_ = p.Signal(syscall.SIGKILL)
	<-p.done
}

// Stop sends SIGTERM, waits for the grace period and then kills what is left
// of the group. It reports whether the child ended by itself.
func (p *Process) Stop(grace time.Duration) bool {
	_ = p.Signal(syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		p.Kill()
		return false
	}
}

// Tail returns the last n bytes of the log.
func (p *Process) Tail(n int64) string { return Tail(p.logFile, n) }

// Tail returns the last n bytes of a file, or the error as text.
func Tail(path string, n int64) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close() //nolint:errcheck // read only
	info, err := f.Stat()
	if err != nil {
		return err.Error()
	}
	from := max(0, info.Size()-n)
	buf := make([]byte, info.Size()-from)
	read, _ := f.ReadAt(buf, from)
	return string(buf[:read])
}
