package app

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"os"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/vault"
)

// kms checks what names the key store.
func (v *validator) kms(c VaultConfig) {
	k := c.KMS
	if !k.Token.legal() {
		v.secret("vault.kms.token", "write env:NAME or file:/path")
	}
	if k.URL == "" {
		if k.Key+string(k.Token) != "" {
			v.report("vault.kms.url", "write https://vault.example.com:8200, or leave vault.kms out", "the key store has no address")
		}
		return
	}
	v.keyStoreURL(k.URL)
	for _, need := range []struct{ at, value, fix string }{
		{"vault.kms.key", k.Key, "name the key in the key store, such as parley"},
		{"vault.kms.token", string(k.Token), "write file:/path of the key store's token"},
		{"vault.key", string(c.Key), "name the master key file that the key store seals: `publisher connections keys new` makes it"},
	} {
		if need.value == "" {
			v.report(need.at, need.fix, "a key store needs it")
		}
	}
}

// keyStoreURL checks the key store's address.
func (v *validator) keyStoreURL(text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		v.report("vault.kms.url", "write https://vault.example.com:8200", "this is not the address of a key store")
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		v.report("vault.kms.url", "write https://", "the master key does not travel in the open: %q", u.Scheme)
	}
}

// masterAt returns the master key's file at the path, with the key store that
// seals it.
func (c *Config) masterAt(path string, env Env) (vault.MasterFile, error) {
	kms, err := c.kms(env)
	if err != nil || kms == nil {
		return vault.MasterFile{Path: path}, err
	}
	return vault.MasterFile{Path: path, KMS: *kms}, nil
}

// kms returns the key store; nil is none.
func (c *Config) kms(env Env) (*vault.Transit, error) {
	k := c.Vault.KMS
	if k.URL == "" {
		return nil, nil //nolint:nilnil // It is no failure that there is none.
	}
	client, err := c.kmsClient()
	if err != nil {
		return nil, err
	}
	return &vault.Transit{URL: k.URL, Mount: k.Mount, Key: k.Key, Client: client, Token: func() (vault.Secret, error) {
		path, err := k.Token.Path(env)
		if err != nil {
			return vault.Secret{}, err
		}
		return vault.ReadSecret(path)
	}}, nil
}

// kmsClient returns what reaches the key store. It uses no proxy, and keeps no
// connection: the key store is asked once.
func (c *Config) kmsClient() (*http.Client, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := c.Vault.KMS.CA; file != "" {
		text, err := os.ReadFile(c.Path(file))
		if err != nil {
			return nil, fault.New(fault.BadConfig, "reading vault.kms.ca").Because(err)
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(text) {
			return nil, fault.New(fault.BadConfig, "vault.kms.ca holds no certificate").WithFix("name a file in PEM form")
		}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: settings, DisableKeepAlives: true}}, nil
}
