package event

import "strings"

// The first numbers of the OpenTelemetry severity ranges.
const (
	SeverityTrace = 1
	SeverityDebug = 5
	SeverityInfo  = 9
	SeverityWarn  = 13
	SeverityError = 17
	SeverityFatal = 21
	SeverityLast  = 24
)

// SeverityNumber returns the OpenTelemetry severity number of a severity text, 0 when the
// text is not known. It knows the short names of the OpenTelemetry log data model (INFO,
// WARN2, ...) in any case, and the words of syslog as its appendix B maps them.
func SeverityNumber(text string) int32 {
	if len(text) > 16 {
		return 0
	}
	name := strings.ToUpper(text) // does not allocate when nothing changes
	step := int32(0)
	if last := len(name) - 1; last > 0 && name[last] >= '2' && name[last] <= '4' {
		name, step = name[:last], int32(name[last]-'1')
	}
	if base := severityRange(name); base > 0 {
		return base + step
	}
	if step > 0 {
		return 0
	}
	switch name {
	case "INFORMATION", "INFORMATIONAL", "NORMAL":
		return SeverityInfo
	case "NOTICE":
		return SeverityInfo + 1
	case "WARNING":
		return SeverityWarn
	case "ERR":
		return SeverityError
	case "CRIT", "CRITICAL":
		return SeverityError + 1
	case "ALERT":
		return SeverityError + 2
	case "EMERG", "EMERGENCY", "PANIC":
		return SeverityFatal
	}
	return 0
}

func severityRange(name string) int32 {
	switch name {
	case "TRACE":
		return SeverityTrace
	case "DEBUG":
		return SeverityDebug
	case "INFO":
		return SeverityInfo
	case "WARN":
		return SeverityWarn
	case "ERROR":
		return SeverityError
	case "FATAL":
		return SeverityFatal
	}
	return 0
}

// SeverityText returns the short name of a severity number (INFO, WARN2); empty when it is
// not in 1..24.
func SeverityText(number int32) string {
	level := SeverityLevel(number)
	if level == "" {
		return ""
	}
	step := (number - 1) % 4
	if step == 0 {
		return strings.ToUpper(level)
	}
	return strings.ToUpper(level) + string('1'+step)
}

// SeverityLevel returns the range of a severity number: trace, debug, info, warn, error or
// fatal; empty when it is not in 1..24.
func SeverityLevel(number int32) string {
	switch {
	case number < 1 || number > SeverityLast:
		return ""
	case number >= SeverityFatal:
		return "fatal"
	case number >= SeverityError:
		return "error"
	case number >= SeverityWarn:
		return "warn"
	case number >= SeverityInfo:
		return "info"
	case number >= SeverityDebug:
		return "debug"
	}
	return "trace"
}
