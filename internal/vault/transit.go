package vault

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

const (
	// transitTimeout bounds one question to the key store.
	transitTimeout = 10 * time.Second
	maxTransit     = 1 << 20
)

// Transit is a KMS: a key of the transit engine of HashiCorp Vault or OpenBao.
type Transit struct {
	// URL is the server's address, and Mount where the engine is; "" is transit.
	URL, Mount string
	// Key is the key's name. It is one that authenticates what belongs to a text,
	// such as aes256-gcm96, which is their standard.
	Key string
	// Token returns the token, for each question: it may have been replaced.
	Token func() (Secret, error)
	// Client asks. Nil means a plain one. Redirects are never followed.
	Client *http.Client
}

// transitBody is what is asked and answered. Texts are in base64, but for what
// was sealed, which is the key store's own form.
type transitBody struct {
	Text   string `json:"plaintext,omitempty"`
	Sealed string `json:"ciphertext,omitempty"`
	About  string `json:"associated_data,omitempty"`
}

// EncryptWithContext implements KMS.
func (t Transit) EncryptWithContext(ctx context.Context, text, about []byte) ([]byte, error) {
	got, err := t.ask(ctx, "encrypt", transitBody{Text: encode(text), About: encode(about)})
	if err == nil && got.Sealed == "" {
		err = t.strange()
	}
	return []byte(got.Sealed), err
}

// DecryptWithContext implements KMS.
func (t Transit) DecryptWithContext(ctx context.Context, sealed, about []byte) ([]byte, error) {
	got, err := t.ask(ctx, "decrypt", transitBody{Sealed: string(sealed), About: encode(about)})
	if err != nil {
		return nil, err
	}
	text, err := base64.StdEncoding.DecodeString(got.Text)
	if err != nil || len(text) == 0 {
		return nil, t.strange()
	}
	return text, nil
}

func encode(text []byte) string { return base64.StdEncoding.EncodeToString(text) }

func (t Transit) strange() error {
	return fault.New(fault.BadConfig, "what answers at %s is no key store", t.host()).WithFix("check vault.kms.url")
}

// host names the key store for people.
func (t Transit) host() string {
	if u, err := url.Parse(t.URL); err == nil && u.Host != "" {
		return u.Host
	}
	return "vault.kms.url"
}

// ask asks the key store once.
func (t Transit) ask(ctx context.Context, what string, body transitBody) (got transitBody, err error) {
	ctx, cancel := context.WithTimeout(ctx, transitTimeout)
	defer cancel()
	request, err := t.request(ctx, what, body)
	if err != nil {
		return got, err
	}
	response, err := t.client().Do(request)
	if err != nil {
		return got, t.away("it could not be reached")
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxTransit))
	if err != nil {
		return got, t.away("its answer broke off")
	}
	if response.StatusCode != http.StatusOK {
		return got, t.refused(response.StatusCode, text)
	}
	var answer struct {
		Data transitBody `json:"data"`
	}
	if json.Unmarshal(text, &answer) != nil {
		return got, t.strange()
	}
	return answer.Data, nil
}

func (t Transit) request(ctx context.Context, what string, body transitBody) (*http.Request, error) {
	token, err := t.Token()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fault.New(fault.InternalError, "writing the question to the key store")
	}
	address := strings.TrimSuffix(t.URL, "/") + "/v1/" + strings.Trim(t.mounted(), "/") + "/" + what + "/" + url.PathEscape(t.Key)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(text))
	if err != nil {
		return nil, fault.New(fault.BadConfig, "the address of the key store cannot be read").WithFix("check vault.kms.url")
	}
	request.Header.Set("X-Vault-Token", token.Reveal())
	request.Header.Set("X-Vault-Request", "true") // An agent in between asks for it.
	request.Header.Set("Content-Type", "application/json")
	return request, nil
}

// client returns a client without redirects: the token goes nowhere else.
func (t Transit) client() *http.Client {
	c := http.Client{}
	if t.Client != nil {
		c = *t.Client
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

func (t Transit) away(why string) error {
	return fault.New(fault.KeyStoreUnavailable, "the key store %s is away: %s", t.host(), why)
}

// refused classifies an answer that is no success. Its text is used for nothing:
// nobody knows what it repeats.
func (t Transit) refused(status int, text []byte) error {
	switch {
	case status == http.StatusForbidden, status == http.StatusUnauthorized:
		return fault.New(fault.BadConfig, "the key store %s does not let us use the key %s", t.host(), t.Key).
			WithFix("give vault.kms.token a policy with update on %s/encrypt/%s and %s/decrypt/%s, or renew it", t.mounted(), t.Key, t.mounted(), t.Key)
	case status == http.StatusTooManyRequests, status >= 500, status == 472, status == 473: // The last two are standbys.
		return t.away("it answers " + http.StatusText(status))
	case status == http.StatusNotFound, bytes.Contains(text, []byte("key not found")):
		return fault.New(fault.BadConfig, "the key store %s has no key %s at %s", t.host(), t.Key, t.mounted()).WithFix("check vault.kms.key and vault.kms.mount")
	}
	return fault.New(fault.BadConfig, "the key %s of the key store %s did not seal this, or its versions were ended", t.Key, t.host()).
		WithFix("check vault.kms.key; versions that sealed something stay until `publisher connections keys wrap` has sealed it anew")
}

func (t Transit) mounted() string {
	if t.Mount == "" {
		return "transit"
	}
	return t.Mount
}
