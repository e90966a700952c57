package standin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// life is how long the certificates are valid. They die with the process
// anyway; their key is never written anywhere.
const life = 7 * 24 * time.Hour

// An authority signs one certificate for each host, all with one key. A
// certificate of its own keeps HTTP/2 from sending one host's requests over
// another host's connection, which the real hosts do not do either.
type authority struct {
	roots  *x509.CertPool
	spki   string
	byHost map[string]*tls.Certificate
	other  *tls.Certificate // for a name nobody serves, so that it can be told
}

func newAuthority(hosts []string) (*authority, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the authority's key: %w", err)
	}
	caTemplate := template(1, "Parley stand-in authority")
	caTemplate.IsCA, caTemplate.BasicConstraintsValid, caTemplate.KeyUsage = true, true, x509.KeyUsageCertSign
	caDER, err := x509.CreateCertificate(rand.Reader, caTemplate, caTemplate, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, fmt.Errorf("signing the authority: %w", err)
	}
	ca, err := x509.ParseCertificate(caDER)
	if err != nil {
		return nil, fmt.Errorf("reading the authority: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the hosts' key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("encoding the hosts' key: %w", err)
	}
	sum := sha256.Sum256(public)
	a := &authority{
		roots:  x509.NewCertPool(),
		spki:   base64.StdEncoding.EncodeToString(sum[:]),
		byHost: make(map[string]*tls.Certificate, len(hosts)),
	}
	a.roots.AddCert(ca)
	for i, host := range append(hosts, "unknown.invalid") {
		leaf := template(int64(i)+2, host)
		leaf.DNSNames = []string{host}
		leaf.KeyUsage, leaf.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
		if err != nil {
			return nil, fmt.Errorf("signing the certificate of %s: %w", host, err)
		}
		a.other = &tls.Certificate{Certificate: [][]byte{der, caDER}, PrivateKey: key}
		a.byHost[host] = a.other
	}
	return a, nil
}

func (a *authority) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if cert, ok := a.byHost[strings.ToLower(hello.ServerName)]; ok {
		return cert, nil
	}
	return a.other, nil
}

func template(serial int64, name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(life),
	}
}
