package vault

import (
	"fmt"
	"io"
	"log/slog"
)

// What holds secrets, or leads to what does, prints its name: fmt would look
// into its fields, and asks those for nothing.

// String names the vault.
func (v *Vault) String() string { return "vault" }

// Format is String for every verb.
func (v *Vault) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, v.String()) }

// LogValue is String.
func (v *Vault) LogValue() slog.Value { return slog.StringValue(v.String()) }

// MarshalText is String.
func (v *Vault) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// String names the connection.
func (s *Source) String() string { return "tokens of " + s.name.String() }

// Format is String for every verb.
func (s *Source) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue is String.
func (s *Source) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String.
func (s *Source) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Format is String for every verb.
func (m *Master) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, m.String()) }

// Format is String for every verb.
func (k *Keyring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// Format prints the record's name for every verb.
func (r *record) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }

// String names the request; its fields hold the client's secret.
func (c *Consent) String() string { return "request for consent of " + c.name.String() }

// Format is String for every verb.
func (c *Consent) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue is String.
func (c *Consent) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText is String.
func (c *Consent) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
