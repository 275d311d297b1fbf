package config

import (
	"fmt"
	"strings"
)

// Domain is the name of a JetStream domain. Behind a leaf node whose server has no JetStream, that of the hub is
// reached by the name of its domain alone. Empty = the JetStream that the server has itself.
type Domain string

// API is the subject of a request to JetStream: STREAM.INFO.RAW is $JS.API.STREAM.INFO.RAW, or
// $JS.<domain>.API.STREAM.INFO.RAW.
func (d Domain) API(request string) string {
	if d == "" {
		return "$JS.API." + request
	}
	return "$JS." + string(d) + ".API." + request
}

// Put is the subject on which the value of a key is written, which the bucket stores on KeySubject. No $KV
// subject crosses a leaf node, so a domain takes it as a request.
func (d Domain) Put(bucket, key string) string {
	if d == "" {
		return KeySubject(bucket, key)
	}
	return d.API(KeySubject(bucket, key))
}

// Check refuses what is no name of a domain.
func (d Domain) Check() error {
	if strings.ContainsAny(string(d), ".*> \t\r\n") || len(d) > maxDomain {
		return fmt.Errorf("%q is no JetStream domain: at most %d characters, no dot, space, * or >", string(d), maxDomain)
	}
	return nil
}

// maxDomain is how long a name of a domain is at most, in bytes.
const maxDomain = 128

// KeySubject is the subject on which a KV bucket stores the values of a key.
func KeySubject(bucket, key string) string { return "$KV." + bucket + "." + key }
