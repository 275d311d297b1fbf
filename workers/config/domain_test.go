package config_test

import (
	"strings"
	"testing"

	"millrace.dev/millrace/workers/config"
)

func TestSubjectsOfADomain(t *testing.T) {
	for got, want := range map[string]string{
		config.Domain("").API("STREAM.INFO.RAW"):     "$JS.API.STREAM.INFO.RAW",
		config.Domain("").Put("leases", "enrich"):    "$KV.leases.enrich",
		config.Domain("hub").API("STREAM.INFO.RAW"):  "$JS.hub.API.STREAM.INFO.RAW",
		config.Domain("hub").Put("leases", "enrich"): "$JS.hub.API.$KV.leases.enrich",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestNamesOfDomains(t *testing.T) {
	for domain, want := range map[config.Domain]bool{
		"": true, "hub": true, "hub-1_x": true, "a.b": false, "*": false, ">": false, "a b": false, "a\tb": false,
		config.Domain(strings.Repeat("d", 129)): false,
	} {
		if err := domain.Check(); (err == nil) != want {
			t.Errorf("%q: got %v, want ok %t", domain, err, want)
		}
	}
}
