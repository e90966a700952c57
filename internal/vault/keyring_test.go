package vault_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/vault"
)

func ring(t testing.TB, lines ...string) *vault.Keyring {
	t.Helper()
	k, err := vault.Parse(strings.Join(lines, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func seal(t testing.TB, k *vault.Keyring, text, about string) []byte {
	t.Helper()
	sealed, err := k.Seal([]byte(text), []byte(about))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func TestSealAndOpen(t *testing.T) {
	t.Parallel()
	k := ring(t, vault.Generate())
	for _, text := range []string{"", "a", strings.Repeat("\x00", 100_000)} {
		sealed := seal(t, k, text, "shop/1")
		if len(sealed) != len(text)+vault.Overhead {
			t.Errorf("%d bytes became %d", len(text), len(sealed))
		}
		got, err := k.Open(sealed, []byte("shop/1"))
		if err != nil || string(got) != text {
			t.Errorf("opened %d bytes of %d: %v", len(got), len(text), err)
		}
	}
	if bytes.Equal(seal(t, k, "a", "b"), seal(t, k, "a", "b")) {
		t.Error("the same text was sealed twice alike")
	}
}

// TestEveryBitCounts flips each bit of what was sealed, cuts it everywhere, and
// lengthens it.
func TestEveryBitCounts(t *testing.T) {
	t.Parallel()
	k := ring(t, vault.Generate(), vault.Generate())
	about := []byte("shop/1")
	sealed := seal(t, k, "what the visitor has", "shop/1")
	refused := func(what string, changed []byte) {
		t.Helper()
		text, err := k.Open(changed, about)
		if text != nil || !errors.Is(err, fault.New(fault.SealBroken, "")) && !errors.Is(err, fault.New(fault.KeyMissing, "")) {
			t.Fatalf("%s: %q, %v", what, text, err)
		}
	}
	for i := range len(sealed) * 8 {
		changed := bytes.Clone(sealed)
		changed[i/8] ^= 1 << (i % 8)
		refused(fmt.Sprint("bit ", i), changed)
	}
	for n := range sealed {
		refused(fmt.Sprint("cut to ", n), sealed[:n])
	}
	refused("lengthened", append(bytes.Clone(sealed), 0))
	refused("nothing", nil)
}

// TestSwappedKeyIsRefused puts the name of another key of the ring in front.
func TestSwappedKeyIsRefused(t *testing.T) {
	t.Parallel()
	a, b := vault.Generate(), vault.Generate()
	k, other := ring(t, a, b), ring(t, b, a)
	mine, theirs := seal(t, k, "text", "x"), seal(t, other, "text", "x")
	copy(mine[1:9], theirs[1:9])
	if _, err := k.Open(mine, []byte("x")); !errors.Is(err, fault.New(fault.SealBroken, "")) {
		t.Errorf("another key's name: %v", err)
	}
}

func TestAboutSomethingElse(t *testing.T) {
	t.Parallel()
	k := ring(t, vault.Generate())
	for range 1000 {
		mine, other := rand.Text(), rand.Text()
		if text, err := k.Open(seal(t, k, "text", mine), []byte(other)); err == nil {
			t.Fatalf("what is about %q opened as %q: %q", mine, other, text)
		}
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	before, next := vault.Generate(), vault.Generate()
	sealed := seal(t, ring(t, before), "text", "x")
	both := ring(t, "# rotated on Tuesday", next, "", "  "+before+"\r")
	if text, err := both.Open(sealed, []byte("x")); err != nil || string(text) != "text" {
		t.Errorf("opening with the older key: %q, %v", text, err)
	}
	fresh := seal(t, both, "text", "x")
	if _, err := ring(t, before).Open(fresh, []byte("x")); !errors.Is(err, fault.New(fault.KeyMissing, "")) {
		t.Errorf("a ring without the newer key: %v", err)
	}
	if _, err := ring(t, next).Open(fresh, []byte("x")); err != nil {
		t.Errorf("the first key did not seal: %v", err)
	}
	if diff := cmp.Diff(append(ring(t, next).IDs(), ring(t, before).IDs()...), both.IDs()); diff != "" {
		t.Error(diff)
	}
}

func TestBadRings(t *testing.T) {
	t.Parallel()
	good := vault.Generate()
	for name, text := range map[string]string{
		"nothing": "", "comments": "# a\n\n", "no base64": "secret!", "short": "c2hvcnQ=", "long": good[:43] + "AA==",
		"twice": good + "\n" + good, "one bad": good + "\n" + good[:10],
	} {
		k, err := vault.Parse(text)
		if k != nil || !errors.Is(err, fault.New(fault.BadConfig, "")) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if fix := fault.From(err).Fix; fix == "" || strings.Contains(err.Error(), good[:10]) || strings.Contains(err.Error(), "secret!") {
			t.Errorf("%s: the error shows a key or no way out: %v, %q", name, err, fix)
		}
	}
}

// TestNothingShowsAKey prints and encodes a ring in every way.
func TestNothingShowsAKey(t *testing.T) {
	t.Parallel()
	secret := vault.Generate()
	k := ring(t, secret)
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("ring", slog.Any("keys", k))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		fmt.Fprintf(&out, verb, k)
	}
	raw, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(raw)
	if text := out.String(); strings.Contains(text, secret) || !strings.Contains(text, k.IDs()[0]) {
		t.Errorf("printed: %s", text)
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "below", "keys")
	if _, err := vault.Read(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading no file: %v", err)
	}
	var all sync.WaitGroup
	ids := make([]string, 20)
	for i := range ids { // as many workers start at once
		all.Go(func() {
			k, err := vault.Ensure(path)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = k.IDs()[0]
		})
	}
	all.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("two rings were made: %v", ids)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode: %v, %v", info.Mode(), err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("%d files are left: %v", len(left), err)
	}
}

func TestFileThatIsNoSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := vault.Generate()
	for name, path := range map[string]string{
		"everybody's": write("a", good, 0o644), "empty": write("b", "", 0o600),
		"torn": write("c", good[:20], 0o600), "huge": write("d", strings.Repeat("#", 1<<20), 0o600), "a folder": dir,
	} {
		k, err := vault.Ensure(path) // It must not be replaced either.
		if k != nil || !errors.Is(err, fault.New(fault.BadConfig, "")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := vault.Read(write("e", good, 0o640)); err != nil {
		t.Errorf("a group's file: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	k := ring(f, vault.Generate())
	f.Add(seal(f, k, "text", "x"), []byte("y"))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, sealed, about []byte) {
		if text, err := k.Open(sealed, about); err == nil {
			t.Errorf("%x opened as %q", sealed, text)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	k := ring(b, vault.Generate())
	text, about := bytes.Repeat([]byte("x"), 50<<10), []byte("shop/1")
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		sealed, err := k.Seal(text, about)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := k.Open(sealed, about); err != nil {
			b.Fatal(err)
		}
	}
}
