package correlate

// OnlyMarked says whether what signalOf takes for notable, which is marked, is all that changes a window, an incident or a clock
// (stage.Selective). Runs are made of all spans and logs.
func (c *correlator) OnlyMarked() bool { return c.runs == nil }
