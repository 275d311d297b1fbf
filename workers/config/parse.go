package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Parse reads a StageConfig strictly: unknown fields, another version, a kind whose member is
// missing, and what follows behind it are errors.
func Parse(data []byte) (*StageConfig, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var c StageConfig
	if err := dec.Decode(&c); err != nil {
		return nil, fmt.Errorf("read stage config: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("read stage config: more follows behind the config")
	}
	if c.APIVersion != APIVersion {
		return nil, fmt.Errorf("read stage config: apiVersion is %q, this worker reads %q", c.APIVersion, APIVersion)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("read stage config: %w", err)
	}
	if err := checkSecretFiles(c.SecretFiles()); err != nil {
		return nil, fmt.Errorf("read stage config: %w", err)
	}
	if err := checkModelFiles(c.ModelFiles()); err != nil {
		return nil, fmt.Errorf("read stage config: %w", err)
	}
	return &c, nil
}

// Encode writes c in the form that Parse reads, with stable key order.
func (c *StageConfig) Encode() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // people read it, and subjects end in >
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(c); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func (c *StageConfig) check() error {
	switch {
	case c.Kind.Traits().Kind == "":
		return fmt.Errorf("kind %q is unknown", c.Kind)
	case !c.has(c.Kind):
		return fmt.Errorf("kind is %q but its member is missing", c.Kind)
	case len(c.Inputs) == 0:
		return fmt.Errorf("inputs is empty: a stage reads at least one stream")
	case c.Partitions < 1:
		return fmt.Errorf("partitions is %d: at least 1", c.Partitions)
	case c.Lanes != 1 && c.Lanes != c.Partitions:
		return fmt.Errorf("lanes is %d: 1 or the number of partitions, %d", c.Lanes, c.Partitions)
	}
	if err := c.checkPartitions(); err != nil {
		return err
	}
	if err := c.Breaker.Check(); err != nil {
		return err
	}
	if err := c.checkOverflow(); err != nil {
		return err
	}
	for i := range c.Chain {
		if err := c.Chain[i].check(); err != nil {
			return fmt.Errorf("chain[%d]: %w", i, err)
		}
		if got := c.Chain[i].Lanes; got != c.Lanes {
			return fmt.Errorf("chain[%d]: lanes is %d, the first stage has %d", i, got, c.Lanes)
		}
	}
	for _, k := range c.set() {
		if k != c.Kind {
			return fmt.Errorf("kind is %q but %s is set too", c.Kind, k)
		}
	}
	return c.checkKeys()
}

// set are the kinds whose settings are set, by name.
func (c *StageConfig) set() []Kind {
	var set []Kind
	for i := range kinds {
		if c.has(kinds[i].Kind) {
			set = append(set, kinds[i].Kind)
		}
	}
	slices.Sort(set)
	return set
}
