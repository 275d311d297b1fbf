package serving

import (
	"bytes"
	"crypto/x509"
	"maps"
	"testing"
	"time"
)

var (
	start = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	names = []string{"m.mill.svc", "m.mill.svc.cluster.local"}
)

// trusts fails unless the serving certificate is accepted by whoever trusts the authorities.
func trusts(t *testing.T, authorities []byte, data map[string][]byte, now time.Time) {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authorities) {
		t.Fatal("no authorities")
	}
	serving, err := parsePair(data[keyCertificate], data[keyPrivate])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if _, err := serving.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now}); err != nil {
			t.Errorf("%s at %s: %v", name, now, err)
		}
	}
}

func TestRenew(t *testing.T) {
	first, changed, err := renew(nil, start, names)
	if err != nil || !changed {
		t.Fatal(changed, err)
	}
	trusts(t, first[keyAuthorities], first, start)
	trusts(t, first[keyAuthorities], first, start.Add(-skew/2))

	if _, changed, err := renew(first, start.Add(servingLife/2), names); err != nil || changed {
		t.Errorf("half of its life: got changed %t, %v, want it left alone", changed, err)
	}
	late := start.Add(servingLife * 3 / 4)
	second, changed, err := renew(first, late, names)
	if err != nil || !changed || bytes.Equal(second[keyCertificate], first[keyCertificate]) {
		t.Fatalf("a quarter of its life is left: got changed %t, %v, want a new certificate", changed, err)
	}
	if !bytes.Equal(second[keyAuthorities], first[keyAuthorities]) {
		t.Error("the authority is new as well: nobody trusts it yet")
	}
	trusts(t, first[keyAuthorities], second, late)
}

// TestAuthorityIsRenewedInSteps: whoever trusts what was trusted before each step trusts what is served
// after it.
func TestAuthorityIsRenewedInSteps(t *testing.T) {
	data, _, err := renew(nil, start, names)
	if err != nil {
		t.Fatal(err)
	}
	now := start.Add(authorityLife * 3 / 4)
	if data, _, err = renew(data, now.Add(-authorityLife/10), names); err != nil { // a fresh serving certificate
		t.Fatal(err)
	}
	steps := 0
	for changed := true; changed; steps++ {
		trusted := data[keyAuthorities]
		before := maps.Clone(data)
		if data, changed, err = renew(data, now, names); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(before[keyAuthorities], data[keyAuthorities]) && !bytes.Equal(before[keyCertificate], data[keyCertificate]) {
			t.Error("authority and certificate are new at once")
		}
		if steps > 0 {
			trusts(t, trusted, data, now)
		}
	}
	if steps != 3 {
		t.Errorf("got %d steps, want the authority, the certificate, and nothing", steps)
	}
	trusts(t, data[keyAuthorities], data, now)
}

func TestRenewMendsWhatIsBroken(t *testing.T) {
	good, _, err := renew(nil, start, names)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := renew(nil, start, []string{"other.mill.svc"})
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(map[string][]byte){
		"no certificate":          func(d map[string][]byte) { delete(d, keyCertificate) },
		"garbage":                 func(d map[string][]byte) { d[keyPrivate] = []byte("x") },
		"another name":            func(d map[string][]byte) { maps.Copy(d, other) },
		"another authority's":     func(d map[string][]byte) { d[keyCertificate], d[keyPrivate] = other[keyCertificate], other[keyPrivate] },
		"no key of the authority": func(d map[string][]byte) { delete(d, keyAuthorityKey) },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			data := maps.Clone(good)
			spoil(data)
			mended, changed, err := renew(data, start, names)
			if err != nil || !changed {
				t.Fatalf("got changed %t, %v", changed, err)
			}
			trusts(t, mended[keyAuthorities], mended, start)
		})
	}
}
