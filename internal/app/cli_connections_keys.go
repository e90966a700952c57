package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/vault"
)

// connectionsResealCmd seals anew.
type connectionsResealCmd struct{}

// Run seals.
func (*connectionsResealCmd) Run(ctx context.Context, c *cli) error {
	v, done, err := c.vault(ctx)
	if err != nil {
		return err
	}
	defer done()
	n, err := v.Reseal(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "sealed %d records anew\n", n)
	return err
}

// connectionsKeysCmd makes and rotates the master key.
type connectionsKeysCmd struct {
	New     keysNewCmd     `cmd:"" help:"Make a master key in a new file."`
	Add     keysAddCmd     `cmd:"" help:"Add a key that opens and does not seal yet."`
	Promote keysPromoteCmd `cmd:"" help:"Have the newest key seal."`
	Retire  keysRetireCmd  `cmd:"" help:"Seal everything anew, and drop the older keys."`
	Wrap    keysWrapCmd    `cmd:"" help:"Seal the file with the key store's newest key."`
}

// Help is the long help.
func (*connectionsKeysCmd) Help() string {
	return `To rotate: add, and bring the file to every process; promote, and bring it to every process; retire, and bring it to every process. In between, every process opens what every other one seals. A process reads the file when it starts.`
}

// keyFileOf is the file that the command is about: FILE, or what vault.key names.
type keyFileOf struct {
	File string `arg:"" optional:"" help:"The master key file. Default: the one of vault.key."`
}

func (k keyFileOf) path(c *cli) (string, error) {
	if k.File != "" {
		return k.File, nil
	}
	cfg, err := c.config()
	if err != nil {
		return "", err
	}
	path, _, err := cfg.masterPath(c.Env)
	if err == nil && path == "" {
		err = fault.New(fault.BadConfig, "no file is named, and vault.key is empty").WithFix("name the file")
	}
	return path, err
}

// file is the master key's file, with the key store of the configuration.
func (k keyFileOf) file(c *cli) (vault.MasterFile, error) {
	path, err := k.path(c)
	if err != nil {
		return vault.MasterFile{}, err
	}
	cfg, err := c.config()
	if err != nil {
		return vault.MasterFile{}, err
	}
	return cfg.masterAt(path, c.Env)
}

// change replaces the file with its key after the step.
func (k keyFileOf) change(ctx context.Context, c *cli, next string, step func(*vault.Master) (*vault.Master, error)) error {
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	file, err := k.file(c)
	if err != nil {
		return err
	}
	master, err := file.Read(ctx)
	if err != nil {
		return err
	}
	if master, err = step(master); err != nil {
		return err
	}
	if err := file.Write(ctx, master); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "%s: %s\nNow bring the file to every process, and restart it%s\n", file.Path, master, next)
	return err
}

// keysTimeout bounds a command that may ask a key store.
const keysTimeout = 15 * time.Second

type keysNewCmd struct{ keyFileOf }

// Run makes the file.
func (k *keysNewCmd) Run(ctx context.Context, c *cli) error {
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	file, err := k.file(c)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(file.Path); !errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.BadConfig, "the file %s is there already", file.Path).WithFix("name another one, or rotate the key: `publisher connections keys add`")
	}
	master, err := file.Make(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "%s: %s\nKeep a copy where the bus's disk is not: without it, every connection is lost.\n", file.Path, master)
	return err
}

type keysWrapCmd struct{ keyFileOf }

// Help is the long help.
func (*keysWrapCmd) Help() string {
	return `The file is sealed with the newest version of the key that vault.kms names, whether it lay open until now or an older version had sealed it. The master key in it stays the same, so processes may go on: they read the file at their next start. Do it after the key store's own rotation, before its old versions end.`
}

// Run seals the file anew.
func (k *keysWrapCmd) Run(ctx context.Context, c *cli) error {
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	file, err := k.file(c)
	if err != nil {
		return err
	}
	if file.KMS == nil {
		return fault.New(fault.BadConfig, "no key store is named").WithFix("name it in vault.kms")
	}
	master, err := file.ReadAny(ctx)
	if err != nil {
		return err
	}
	if err := file.Write(ctx, master); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "%s: %s, sealed by the key store\nBring the file to every process before the next restart.\n", file.Path, master)
	return err
}

type keysAddCmd struct{ keyFileOf }

// Run adds a key.
func (k *keysAddCmd) Run(ctx context.Context, c *cli) error {
	return k.change(ctx, c, "; then: publisher connections keys promote", (*vault.Master).Added)
}

type keysPromoteCmd struct{ keyFileOf }

// Run promotes a key.
func (k *keysPromoteCmd) Run(ctx context.Context, c *cli) error {
	return k.change(ctx, c, "; then: publisher connections keys retire", (*vault.Master).Promoted)
}

// keysRetireCmd has no file: what it drops must not be needed by the bus.
type keysRetireCmd struct{}

// Run seals everything anew with the key of the configuration, and drops the
// older keys from its file.
func (*keysRetireCmd) Run(ctx context.Context, c *cli) error {
	v, done, err := c.vault(ctx)
	if err != nil {
		return err
	}
	defer done()
	if _, err := v.Reseal(ctx); err != nil {
		return err
	}
	return keyFileOf{}.change(ctx, c, ".", (*vault.Master).Retired)
}
