package config

import (
	"crypto/sha256"
	"fmt"
	"reflect"
	"strings"
)

// Fixed returns c without its live members (Traits.Live), in the stage and in those that are chained to it.
// Everything else takes a restart, also to set or unset a member that has live ones.
func (c *StageConfig) Fixed() StageConfig {
	f := *c
	for i := range kinds {
		for _, path := range kinds[i].Live {
			unset(reflect.ValueOf(&f).Elem(), append([]string{string(kinds[i].Kind)}, strings.Split(path, ".")...))
		}
	}
	f.Chain = nil
	for i := range c.Chain {
		f.Chain = append(f.Chain, c.Chain[i].Fixed())
	}
	return f
}

// unset takes the value at a path of members from s, which shares none of the structs on the way with others
// afterwards.
func unset(s reflect.Value, path []string) {
	m := member(s, path[0])
	switch {
	case len(path) == 1:
		m.SetZero()
	case !m.IsNil():
		own := reflect.New(m.Type().Elem())
		own.Elem().Set(m.Elem())
		m.Set(own)
		unset(own.Elem(), path[1:])
	}
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
