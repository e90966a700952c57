package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/vault"
)

// VaultConfig says what seals the connections to vendors.
type VaultConfig struct {
	Key  Secret    `yaml:"key"  doc:"the master key file that seals connections, the same for all processes of a bus, as file:/path, or env:NAME of a variable with its path; empty means a file beside the streams of the embedded server, made when it is missing, and with an outside server no connections; see connections.md"`
	KMS  KMSConfig `yaml:"kms"`
	Seen string    `yaml:"seen" doc:"a file that remembers how far each connection has come, so that a bus that was put back from an old copy is noticed; keep it apart from the bus's disk; empty means vault.seen beside bus.dir"`
}

// KMSConfig names the key of a key store that seals the master key file.
type KMSConfig struct {
	URL   string `yaml:"url"   doc:"the address of a key store that seals the master key file: a HashiCorp Vault or OpenBao with the transit engine, such as https://vault.example.com:8200; empty means that the file lies open; see connections.md"`
	Key   string `yaml:"key"   doc:"the name of the key in the key store"`
	Mount string `yaml:"mount" default:"transit" doc:"where its transit engine is"`
	Token Secret `yaml:"token" doc:"the token for the key store, as file:/path, or env:NAME of a variable with its path; the file is read for each question, so that an agent may renew it"`
	CA    string `yaml:"ca"    doc:"a file with the authority that the key store's certificate is from, where it is none of the system's"`
}

// masterFile is the file of the master key beside the streams of an embedded
// server.
const masterFile = "vault.key"

// vault checks the configuration of the vault.
func (v *validator) vault(c VaultConfig) {
	if !c.Key.legal() {
		v.secret("vault.key", "write env:NAME or file:/path; `publisher connections keys new` makes that file")
	}
	v.kms(c)
}

// masterPath returns the path of the master key; "" when there is none. made
// says that it is ours, and is made when it is missing.
func (c *Config) masterPath(env Env) (path string, made bool, err error) {
	path, err = c.Vault.Key.file(env)
	if err != nil || path != "" || c.Bus.URL != "" {
		return path, false, err
	}
	return filepath.Join(c.Path(c.Bus.Dir), masterFile), true, nil
}

// master reads the master key. Nil means that there is none. A key store that is
// away is asked again until ctx ends.
func (c *Config) master(ctx context.Context, env Env) (*vault.Master, error) {
	path, made, err := c.masterPath(env)
	if err != nil || path == "" {
		return nil, err
	}
	file, err := c.masterAt(path, env)
	if err != nil {
		return nil, err
	}
	master, err := file.Read(ctx)
	if made && errors.Is(err, fs.ErrNotExist) {
		master, err = file.Make(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("preparing vault.key: %w", err)
	}
	return master, nil
}

// seenPath returns the path of the file that remembers how far connections have
// come.
func (c *Config) seenPath() string {
	if c.Vault.Seen != "" {
		return c.Path(c.Vault.Seen)
	}
	return filepath.Join(filepath.Dir(c.Path(c.Bus.Dir)), "vault.seen")
}

// openVault opens the connections on the bus. It is nil without a master key.
func openVault(ctx context.Context, log *slog.Logger, cfg *Config, env Env, b *bus.Bus, client *http.Client) (*vault.Vault, error) {
	master, err := cfg.master(ctx, env)
	if err != nil || master == nil {
		return nil, err
	}
	kv, err := b.KV(ctx, bus.BucketVault)
	if err != nil {
		return nil, fmt.Errorf("opening the connections: %w", err)
	}
	return vault.Open(ctx, log, kv, master, vault.Options{
		Client: client, Seen: cfg.seenPath(),
		Publish: func(ctx context.Context, subject string, e event.Envelope) error {
			_, err := b.Publish(ctx, subject, e)
			return err
		},
	})
}

// vault opens the bus and the vault for a command. The returned function closes
// the bus.
func (c *cli) vault(ctx context.Context) (*vault.Vault, func(), error) {
	cfg, err := c.config()
	if err != nil {
		return nil, nil, err
	}
	b, err := c.connect(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	done := func() { c.close(ctx, b) }
	opening, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	v, err := openVault(opening, c.log, cfg, c.Env, b, c.Vendors)
	if err == nil && v == nil {
		err = fault.New(fault.BadConfig, "there is no master key, so there are no connections").
			WithFix("make one with `publisher connections keys new FILE`, and name it in vault.key, for all processes of the bus")
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return v, done, nil
}
