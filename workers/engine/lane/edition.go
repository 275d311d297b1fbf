package lane

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

// Edition is what the stages decide by until the next Reload. It is never written to: a lane goes
// on with the one that it has until it takes up another.
type Edition struct {
	// Configs are those of the nodes, in their order.
	Configs []*config.StageConfig
	// Shared are the instances of stateless stages, by node; a stateful one has an instance for each
	// lane, and nil here.
	Shared []stage.Stage
}

// ErrRestart says that a config differs in more than its live members.
var ErrRestart = errors.New("the config differs in more than rules and thresholds: that takes a restart")

// NewEdition makes one of c that has no instances.
func NewEdition(c *config.StageConfig) *Edition {
	n := &Edition{Configs: []*config.StageConfig{c}, Shared: make([]stage.Stage, 1+len(c.Chain))}
	for i := range c.Chain {
		n.Configs = append(n.Configs, &c.Chain[i])
	}
	return n
}

// Reload is Reload of a stage, if it has it.
func Reload(s stage.Stage, c *config.StageConfig) (stage.Stage, error) {
	r, ok := s.(stage.Reloader)
	if !ok {
		return nil, ErrRestart
	}
	return r.Reload(c)
}

// Equal compares the configs of two stages without what is chained to them.
func Equal(a, b *config.StageConfig) (bool, error) {
	var encoded [2][]byte
	for i, c := range []*config.StageConfig{a, b} {
		var err error
		if encoded[i], err = encodeAlone(c); err != nil {
			return false, err
		}
	}
	return bytes.Equal(encoded[0], encoded[1]), nil
}

// encodeAlone encodes a config without what is chained to it.
func encodeAlone(c *config.StageConfig) ([]byte, error) {
	alone := *c
	alone.Chain = nil
	return alone.Encode()
}

// digest is equal for editions that decide alike.
func (n *Edition) digest() (string, error) {
	h := sha256.New()
	for _, c := range n.Configs {
		b, err := encodeAlone(c)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%d ", len(b))
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// sink is the sink that the worker runs; nil = the first stage is none.
func (n *Edition) sink() stage.Sink {
	s, _ := n.Shared[0].(stage.Sink)
	return s
}
