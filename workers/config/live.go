package config

import (
	"crypto/sha256"
	"fmt"
)

// Fixed returns c without its live members: those that a running worker takes over from a changed
// config between two steps, without a restart and with its state. They are rules and thresholds:
//
//	validate   rules, requiredAttributes, maxFuture, maxAge
//	enrich     semantic.rules
//	correlate  window.minEvents
//	analyze    anomaly.threshold, trend.minPoints
//
// in the stage and in those that are chained to it. Everything else takes a restart, also to set or
// unset a member that has live ones.
func (c *StageConfig) Fixed() StageConfig {
	f := *c
	if c.Validate != nil {
		f.Validate = &Validate{Dedupe: c.Validate.Dedupe}
	}
	if c.Enrich != nil && c.Enrich.Semantic != nil {
		e := *c.Enrich
		e.Semantic = &EnrichSemantic{}
		f.Enrich = &e
	}
	if c.Correlate != nil && c.Correlate.Window != nil {
		correlate, w := *c.Correlate, *c.Correlate.Window
		w.MinEvents = 0
		correlate.Window = &w
		f.Correlate = &correlate
	}
	if c.Analyze != nil {
		f.Analyze = c.Analyze.fixed()
	}
	f.Chain = nil
	for i := range c.Chain {
		f.Chain = append(f.Chain, c.Chain[i].Fixed())
	}
	return f
}

func (c *Analyze) fixed() *Analyze {
	f := *c
	if c.Anomaly != nil {
		anomaly := *c.Anomaly
		anomaly.Threshold = 0
		f.Anomaly = &anomaly
	}
	if c.Trend != nil {
		trend := *c.Trend
		trend.MinPoints = 0
		f.Trend = &trend
	}
	return &f
}

// Revision names what a worker must be started with: two configs of one revision differ in live
// members alone (see Fixed). It is a hash, of 16 hexadecimal digits. An error is one of Encode.
func (c *StageConfig) Revision() (string, error) {
	fixed := c.Fixed()
	data, err := fixed.Encode()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%.8x", sha256.Sum256(data)), nil
}
