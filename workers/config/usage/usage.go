package usage

// Error is a command line that makes no sense. The process ends with exit code 2.
type Error struct{ Err error }

// Error names what is wrong.
func (e Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e Error) Unwrap() error { return e.Err }

// ExitCode is that of wrong usage.
func (Error) ExitCode() int { return 2 }
