package correlate

// OnlyMarked is true: what signalOf takes for notable is marked, and nothing else changes a window, an incident or a
// clock (stage.Selective).
func (*correlator) OnlyMarked() bool { return true }
