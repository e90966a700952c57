// Package transit stands in for a key store: the transit engine of HashiCorp
// Vault and of OpenBao, as far as sealing and opening go. It is strict: the token
// must be the right one, what a text is about must be the same when it is opened,
// and a version of a key that was ended opens nothing. It can be sealed, fail by
// itself, and counts what it was asked.
package transit

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Entry is one question.
type Entry struct {
	What, Key string
	Status    int
}

// Standin is one key store. It is safe for use by many goroutines.
type Standin struct {
	mu     sync.Mutex // guards the fields below
	token  string
	mount  string
	keys   map[string]*ring
	sealed bool
	fails  []int
	ledger []Entry
}

// ring is the versions of a key, the first one first.
type ring struct {
	versions []cipher.AEAD
	least    int // the lowest version that opens
}

// New returns a key store without keys, at the usual place.
func New() *Standin {
	return &Standin{token: "hvs." + rand.Text(), mount: "transit", keys: map[string]*ring{}}
}

// Token returns the token that is good now.
func (s *Standin) Token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

// Renew ends the token and returns another one.
func (s *Standin) Renew() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = "hvs." + rand.Text()
	return s.token
}

// Mount moves the engine.
func (s *Standin) Mount(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mount = path
}

// Rotate gives the key another version, its first one when it is new.
func (s *Standin) Rotate(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys[key] == nil {
		s.keys[key] = &ring{least: 1}
	}
	s.keys[key].versions = append(s.keys[key].versions, newAEAD())
}

// Least ends the versions of the key below the one given.
func (s *Standin) Least(key string, version int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[key].least = version
}

// Seal has the key store answer nothing until it is unsealed, as it does after
// each start.
func (s *Standin) Seal(sealed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = sealed
}

// Fail has the next questions answered with the statuses, in order. 0 answers
// nothing, and breaks the connection.
func (s *Standin) Fail(statuses ...int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = slices.Clone(statuses)
}

// Ledger returns what was asked.
func (s *Standin) Ledger() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ledger)
}

// newAEAD makes a version of a key.
func newAEAD() cipher.AEAD {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // It never fails.
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil
	}
	return aead
}

// body is a question and an answer.
type body struct {
	Text   string `json:"plaintext,omitempty"`
	Sealed string `json:"ciphertext,omitempty"`
	About  string `json:"associated_data,omitempty"`
}

// refusal is what the key store says instead of an answer.
type refusal struct {
	status int
	text   string
}

// ServeHTTP implements http.Handler.
func (s *Standin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var asked body
	bad := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&asked) != nil
	s.mu.Lock()
	defer s.mu.Unlock()
	what, key := s.path(r)
	answer, refused := s.answer(what, key, r, asked)
	if bad && refused == nil {
		refused = &refusal{http.StatusBadRequest, "error parsing JSON"}
	}
	status := http.StatusOK
	if refused != nil {
		status = refused.status
	}
	s.ledger = append(s.ledger, Entry{what, key, status})
	if status == 0 {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = conn.Close()
		}
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	text, err := json.Marshal(say(answer, refused))
	if err != nil {
		return
	}
	_, _ = w.Write(text)
}

// say returns the form of an answer.
func say(answer body, refused *refusal) map[string]any {
	if refused != nil {
		return map[string]any{"errors": []string{refused.text}}
	}
	return map[string]any{"data": answer}
}

// path takes the question's path apart: /v1/MOUNT/encrypt/KEY.
func (s *Standin) path(r *http.Request) (what, key string) {
	rest, found := strings.CutPrefix(r.URL.Path, "/v1/"+s.mount+"/")
	if !found || r.Method != http.MethodPost {
		return "", ""
	}
	what, key, _ = strings.Cut(rest, "/")
	return what, key
}

// answer answers, in the order in which the key store looks at things.
func (s *Standin) answer(what, key string, r *http.Request, asked body) (body, *refusal) {
	if len(s.fails) > 0 {
		status := s.fails[0]
		s.fails = s.fails[1:]
		return body{}, &refusal{status, "internal error"}
	}
	ring := s.keys[key]
	switch {
	case s.sealed:
		return body{}, &refusal{http.StatusServiceUnavailable, "Vault is sealed"}
	case subtle.ConstantTimeCompare([]byte(r.Header.Get("X-Vault-Token")), []byte(s.token)) != 1:
		return body{}, &refusal{http.StatusForbidden, "permission denied"}
	case what != "encrypt" && what != "decrypt":
		return body{}, &refusal{http.StatusNotFound, "no handler for route"}
	case ring == nil:
		return body{}, &refusal{http.StatusBadRequest, "encryption key not found"}
	case what == "encrypt":
		return ring.encrypt(asked)
	}
	return ring.decrypt(asked)
}

func (r *ring) encrypt(asked body) (body, *refusal) {
	text, errText := base64.StdEncoding.DecodeString(asked.Text)
	about, errAbout := base64.StdEncoding.DecodeString(asked.About)
	if errText != nil || errAbout != nil {
		return body{}, &refusal{http.StatusBadRequest, "failed to base64-decode plaintext"}
	}
	newest := r.versions[len(r.versions)-1]
	nonce := make([]byte, newest.NonceSize())
	_, _ = rand.Read(nonce) // It never fails.
	sealed := newest.Seal(nonce, nonce, text, about)
	return body{Sealed: fmt.Sprintf("vault:v%d:%s", len(r.versions), base64.StdEncoding.EncodeToString(sealed))}, nil
}

func (r *ring) decrypt(asked body) (body, *refusal) {
	parts := strings.SplitN(asked.Sealed, ":", 3)
	if len(parts) != 3 || parts[0] != "vault" {
		return body{}, &refusal{http.StatusBadRequest, "invalid ciphertext: no prefix"}
	}
	version, err := strconv.Atoi(strings.TrimPrefix(parts[1], "v"))
	switch {
	case err != nil || version < 1 || version > len(r.versions):
		return body{}, &refusal{http.StatusBadRequest, "invalid ciphertext: version is too new"}
	case version < r.least:
		return body{}, &refusal{http.StatusBadRequest, "ciphertext or signature version is disallowed by policy (too old)"}
	}
	sealed, err := base64.StdEncoding.DecodeString(parts[2])
	about, errAbout := base64.StdEncoding.DecodeString(asked.About)
	aead := r.versions[version-1]
	if err != nil || errAbout != nil || len(sealed) < aead.NonceSize() {
		return body{}, &refusal{http.StatusBadRequest, "invalid ciphertext: could not decode base64"}
	}
	text, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], about)
	if err != nil {
		return body{}, &refusal{http.StatusBadRequest, "cipher: message authentication failed"}
	}
	return body{Text: base64.StdEncoding.EncodeToString(text)}, nil
}
