package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"

	"millrace.dev/millrace/test/harness/pki"
)

// certificates writes everything the components read into dir and returns the
// authorities that stay in memory.
func writeCertificates(dir string) (ca, frontProxy *pki.Authority, err error) {
	if ca, err = pki.New("millrace-test-ca"); err != nil {
		return nil, nil, err
	}
	if frontProxy, err = pki.New("millrace-test-front-proxy-ca"); err != nil {
		return nil, nil, err
	}
	serving, err := ca.Server("localhost", "127.0.0.1", serviceIP,
		"kubernetes", "kubernetes.default", "kubernetes.default.svc")
	if err != nil {
		return nil, nil, err
	}
	proxy, err := frontProxy.Client(frontProxyUser)
	if err != nil {
		return nil, nil, err
	}
	tokenKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	tokenPEM, err := pki.PrivateKeyPEM(tokenKey)
	if err != nil {
		return nil, nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(tokenKey.Public())
	if err != nil {
		return nil, nil, err
	}
	files := map[string][]byte{
		"ca.crt": ca.PEM, "front-proxy-ca.crt": frontProxy.PEM,
		"apiserver.crt": serving.Cert, "apiserver.key": serving.Key,
		"front-proxy.crt": proxy.Cert, "front-proxy.key": proxy.Key,
		"sa.key": tokenPEM, "sa.pub": pki.PEM("PUBLIC KEY", public),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, nil, fmt.Errorf("write certificates: %w", err)
		}
	}
	return ca, frontProxy, nil
}
