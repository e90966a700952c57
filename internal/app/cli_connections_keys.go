package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

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

// change replaces the file with its key after the step.
func (k keyFileOf) change(c *cli, next string, step func(*vault.Master) (*vault.Master, error)) error {
	path, err := k.path(c)
	if err != nil {
		return err
	}
	master, err := vault.ReadMaster(path)
	if err != nil {
		return err
	}
	if master, err = step(master); err != nil {
		return err
	}
	if err := vault.WriteMaster(path, master); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "%s: %s\nNow bring the file to every process, and restart it%s\n", path, master, next)
	return err
}

type keysNewCmd struct{ keyFileOf }

// Run makes the file.
func (k *keysNewCmd) Run(c *cli) error {
	path, err := k.path(c)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.BadConfig, "the file %s is there already", path).WithFix("name another one, or rotate the key: `publisher connections keys add`")
	}
	master, err := vault.EnsureMaster(path)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "%s: %s\nKeep a copy where the bus's disk is not: without it, every connection is lost.\n", path, master)
	return err
}

type keysAddCmd struct{ keyFileOf }

// Run adds a key.
func (k *keysAddCmd) Run(c *cli) error {
	return k.change(c, "; then: publisher connections keys promote", (*vault.Master).Added)
}

type keysPromoteCmd struct{ keyFileOf }

// Run promotes a key.
func (k *keysPromoteCmd) Run(c *cli) error {
	return k.change(c, "; then: publisher connections keys retire", (*vault.Master).Promoted)
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
	return keyFileOf{}.change(c, ".", (*vault.Master).Retired)
}
