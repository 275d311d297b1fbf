package serving

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

const (
	// authorityLife and servingLife are how long certificates are valid; each is renewed when a third of
	// its life is left.
	authorityLife = 10 * 365 * 24 * time.Hour
	servingLife   = 90 * 24 * time.Hour
	// skew is how far the clock of the API server may be behind.
	skew = time.Hour
)

// The keys of the Secret: those of the type kubernetes.io/tls, the authorities that are to be trusted,
// newest first, and the key of the newest.
const (
	keyCertificate  = "tls.crt"
	keyPrivate      = "tls.key"
	keyAuthorities  = "ca.crt"
	keyAuthorityKey = "ca.key"
)

// renew returns the content of the Secret as it should be: as it is, or with one thing new. A new
// authority signs nothing until the next call: by then the API server trusts it.
func renew(have map[string][]byte, now time.Time, names []string) (data map[string][]byte, changed bool, err error) {
	authority, err := parsePair(have[keyAuthorities], have[keyAuthorityKey])
	if err != nil {
		return begin(now, names)
	}
	if due(authority.Leaf, now) {
		fresh, err := newAuthority(now)
		if err != nil {
			return nil, false, err
		}
		data = clone(have)
		data[keyAuthorities] = append(fresh.certificate, have[keyAuthorities]...)
		data[keyAuthorityKey] = fresh.key
		return data, true, nil
	}
	serving, err := parsePair(have[keyCertificate], have[keyPrivate])
	if err == nil && !due(serving.Leaf, now) && serves(serving.Leaf, names) && serving.Leaf.CheckSignatureFrom(authority.Leaf) == nil {
		return have, false, nil
	}
	fresh, err := newServing(now, names, authority)
	if err != nil {
		return nil, false, err
	}
	data = clone(have)
	data[keyCertificate], data[keyPrivate] = fresh.certificate, fresh.key
	return data, true, nil
}

// begin makes everything new.
func begin(now time.Time, names []string) (map[string][]byte, bool, error) {
	authority, err := newAuthority(now)
	if err != nil {
		return nil, false, err
	}
	parsed, err := parsePair(authority.certificate, authority.key)
	if err != nil {
		return nil, false, err
	}
	serving, err := newServing(now, names, parsed)
	if err != nil {
		return nil, false, err
	}
	return map[string][]byte{
		keyAuthorities: authority.certificate, keyAuthorityKey: authority.key,
		keyCertificate: serving.certificate, keyPrivate: serving.key,
	}, true, nil
}

// pair is a certificate and its key in PEM.
type pair struct{ certificate, key []byte }

func parsePair(certificate, key []byte) (tls.Certificate, error) {
	if len(certificate) == 0 || len(key) == 0 {
		return tls.Certificate{}, errors.New("the Secret has no " + keyCertificate + " and " + keyPrivate)
	}
	return tls.X509KeyPair(certificate, key)
}

func due(c *x509.Certificate, now time.Time) bool {
	return now.After(c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 3))
}

func serves(c *x509.Certificate, names []string) bool {
	for _, name := range names {
		if c.VerifyHostname(name) != nil {
			return false
		}
	}
	return true
}

func newAuthority(now time.Time) (pair, error) {
	template := &x509.Certificate{
		Subject:  pkix.Name{CommonName: "millrace-operator-ca"},
		NotAfter: now.Add(authorityLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, IsCA: true,
	}
	return sign(template, now, nil, nil)
}

func newServing(now time.Time, names []string, authority tls.Certificate) (pair, error) {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotAfter: now.Add(servingLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	return sign(template, now, authority.Leaf, authority.PrivateKey)
}

// sign makes a key and signs its certificate; without a parent, by itself.
func sign(template *x509.Certificate, now time.Time, parent *x509.Certificate, parentKey crypto.PrivateKey) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, fmt.Errorf("make a key: %w", err)
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	template.NotBefore = now.Add(-skew)
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126)); err != nil {
		return pair{}, fmt.Errorf("make a serial number: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return pair{}, fmt.Errorf("sign a certificate: %w", err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pair{}, fmt.Errorf("encode a key: %w", err)
	}
	return pair{
		certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}),
	}, nil
}

func clone(data map[string][]byte) map[string][]byte {
	c := map[string][]byte{}
	for k, v := range data {
		c[k] = v
	}
	return c
}
