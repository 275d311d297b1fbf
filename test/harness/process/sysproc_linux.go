package process

import (
	"strconv"
	"syscall"
)

func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// reserve holds a port for this process until it ends: no FreePort returns it again, here or
// in another process. Tests of several packages run side by side, and a child binds its port
// only some time after it was given to it. What holds a port is an abstract Unix socket (unix(7)),
// left open for the kernel to take back.
func reserve(port int) bool {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: "@millrace-test-port-" + strconv.Itoa(port)}); err != nil {
		_ = syscall.Close(fd)
		return false
	}
	return true
}
