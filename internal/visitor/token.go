package visitor

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

const (
	// maxToken is the most characters that a token may have.
	maxToken = 4096
	// minSecret is the fewest bytes of a secret that signs tokens.
	minSecret = 16
	// maxIdentity is the longest life of a customer's word on who is logged in.
	maxIdentity = 24 * time.Hour
	// clockSkew is how far the customer's clock may be from ours.
	clockSkew = 30 * time.Second
	// audience is what a visitor's token is for. No other token of ours has it.
	audience = "parley-visitor"
)

// tokenHead is the head of every token of ours. A token with any other head,
// however it is spelled, is none of ours: so there is no algorithm to choose, no
// key to name and no address to fetch.
var tokenHead = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) //nolint:gochecknoglobals // A constant.

// Grant is what a visitor's token says: whose connection it is good for.
type Grant struct {
	Audience string        `json:"aud"`
	Site     string        `json:"site"`
	Visitor  event.Visitor `json:"visitor"`
	// Nonce is the token's own name: it is used once.
	Nonce  string `json:"jti"`
	Issued int64  `json:"iat"`
	// Expires is when the token lapses. Until, if not 0, is when the customer's
	// word on who the visitor is lapses: no later token may say it again.
	Expires int64 `json:"exp"`
	Until   int64 `json:"until,omitempty"`
}

// Tokens makes and checks visitors' tokens. It does not know which were used.
type Tokens struct {
	key  []byte
	life time.Duration
	now  func() time.Time
}

// newTokens returns the tokens that the secret signs.
func newTokens(secret []byte, life time.Duration, now func() time.Time) (*Tokens, error) {
	if len(secret) < minSecret {
		return nil, fault.New(fault.BadConfig, "the secret of visitors' tokens has fewer than %d bytes", minSecret).
			WithFix("make one with `openssl rand -hex 32`")
	}
	return &Tokens{key: derive(secret, audience), life: life, now: now}, nil
}

// derive makes a key for one purpose, so that no token made for another one
// passes, whoever shares the secret.
func derive(secret []byte, purpose string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(purpose))
	return mac.Sum(nil)
}

// issue makes a token for the visitor. until is when the customer's word on who
// the visitor is lapses, or zero.
func (t *Tokens) issue(site string, v event.Visitor, until time.Time) (token, nonce string, life time.Duration, err error) {
	now := t.now()
	expires := now.Add(t.life)
	if !until.IsZero() && until.Before(expires) {
		expires = until
	}
	g := Grant{
		Audience: audience, Site: site, Visitor: v, Nonce: rand.Text(), Issued: now.Unix(), Expires: expires.Unix(),
	}
	if !until.IsZero() {
		g.Until = until.Unix()
	}
	claims, err := json.Marshal(g)
	if err != nil {
		return "", "", 0, fault.New(fault.InternalError, "writing a visitor's token").Because(err)
	}
	return sign(t.key, claims), g.Nonce, expires.Sub(now), nil
}

// check reads a token for the site. The error is fault.NotAuthentic; of a token
// that is ours and has lapsed the grant is told all the same.
func (t *Tokens) check(site, token string) (Grant, error) {
	head, _, _ := strings.Cut(token, ".")
	if head != tokenHead {
		return Grant{}, fault.New(fault.NotAuthentic, "the token is none of ours")
	}
	claims, err := verify(t.key, token)
	if err != nil {
		return Grant{}, err
	}
	var g Grant
	if err := strict(claims, &g); err != nil {
		return Grant{}, fault.New(fault.NotAuthentic, "the token's claims cannot be read").Because(err)
	}
	now := t.now().Unix()
	switch {
	case g.Audience != audience:
		return Grant{}, fault.New(fault.NotAuthentic, "the token is for something else")
	case g.Site != site:
		return Grant{}, fault.New(fault.NotAuthentic, "the token is for another site")
	case g.Issued > now+int64(clockSkew/time.Second):
		return Grant{}, fault.New(fault.NotAuthentic, "the token is of the future")
	case g.Nonce == "" || g.Visitor.Key() == "":
		return Grant{}, fault.New(fault.NotAuthentic, "the token names nobody")
	case g.Until != 0 && g.Until <= now:
		return Grant{}, fault.New(fault.NotAuthentic, "the identity has lapsed")
	case g.Expires <= now:
		return g, fault.New(fault.NotAuthentic, "the token has lapsed")
	}
	return g, nil
}

// until returns when the customer's word on who the visitor is lapses; zero when
// nobody has given it.
func (g Grant) until() time.Time {
	if g.Until == 0 {
		return time.Time{}
	}
	return time.Unix(g.Until, 0)
}

// identify reads a JWT of the customer's own backend, which says who is logged
// in: HS256 with one of the site's secrets, and nothing else. kid, jku, x5u and
// jwk are not looked at. The second value is when it lapses.
func identify(secrets [][]byte, site, token string, now time.Time) (event.Visitor, time.Time, error) {
	refused := func(why string) (event.Visitor, time.Time, error) {
		return event.Visitor{}, time.Time{}, fault.New(fault.NotAuthentic, "the identity %s", why)
	}
	if len(secrets) == 0 {
		return refused("cannot be checked: the site has no identity_secret")
	}
	var head struct {
		Algorithm string `json:"alg"`
	}
	first, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.Strict().DecodeString(first)
	if err != nil || len(token) > maxToken || json.Unmarshal(text, &head) != nil || head.Algorithm != "HS256" {
		return refused("is not signed with HS256")
	}
	var claims []byte
	for _, secret := range secrets {
		if claims, err = verify(secret, token); err == nil {
			break
		}
	}
	if err != nil {
		return event.Visitor{}, time.Time{}, err
	}
	var c identityClaims
	if json.Unmarshal(claims, &c) != nil {
		return refused("has claims that cannot be read")
	}
	at := func(seconds float64) time.Time { return time.UnixMilli(int64(seconds * 1000)) }
	v := event.Visitor{UserID: c.Subject, Email: c.Email}
	if c.UserID != "" {
		v.UserID = c.UserID
	}
	switch expires := at(c.Expires); {
	case c.Expires <= 0:
		return refused("never lapses: give it exp")
	case !expires.After(now):
		return refused("has lapsed")
	case expires.Sub(now) > maxIdentity+clockSkew:
		return refused("lapses later than in 24 hours")
	case c.NotBefore > 0 && at(c.NotBefore).After(now.Add(clockSkew)), c.Issued > 0 && at(c.Issued).After(now.Add(clockSkew)):
		return refused("is of the future")
	case !c.Audience.allows(site):
		return refused("is for another site")
	case v.Key() == "" || len(v.UserID) > 256 || len(v.Email) > 320:
		return refused("names nobody: give it sub or email")
	default:
		return v, expires, nil
	}
}

// identityClaims are what we read of a customer's JWT.
type identityClaims struct {
	Subject   string    `json:"sub"`
	UserID    string    `json:"user_id"`
	Email     string    `json:"email"`
	Audience  audiences `json:"aud"`
	Expires   float64   `json:"exp"`
	NotBefore float64   `json:"nbf"`
	Issued    float64   `json:"iat"`
}

// audiences are the sites that an identity is for: one, several, or any when
// there is none.
type audiences []string

// UnmarshalJSON reads a text or a list of texts.
func (a *audiences) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*a = audiences{one}
		return nil
	}
	var all []string
	if err := json.Unmarshal(text, &all); err != nil {
		return fault.New(fault.NotAuthentic, "reading the audience").Because(err)
	}
	*a = append(audiences{}, all...)
	return nil
}

func (a audiences) allows(site string) bool {
	if a == nil {
		return true
	}
	return slices.Contains(a, site)
}

// sign makes a JWT of the claims.
func sign(key, claims []byte) string {
	text := tokenHead + "." + base64.RawURLEncoding.EncodeToString(claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(mac(key, text))
}

// verify returns the claims of a JWT that the key has signed.
func verify(key []byte, token string) ([]byte, error) {
	refused := fault.New(fault.NotAuthentic, "the token's signature is wrong")
	at := strings.LastIndexByte(token, '.')
	if len(token) > maxToken || at < 0 || strings.Count(token, ".") != 2 {
		return nil, refused
	}
	given, err := base64.RawURLEncoding.Strict().DecodeString(token[at+1:])
	if err != nil || !hmac.Equal(given, mac(key, token[:at])) {
		return nil, refused
	}
	_, body, _ := strings.Cut(token[:at], ".")
	claims, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil {
		return nil, refused
	}
	return claims, nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// strict reads JSON that has no field that we do not know.
func strict(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode(into) //nolint:wrapcheck // The caller says what it was reading.
}

// SignIdentity returns a JWT that says who is logged in on the site, as a
// customer's own backend makes it with one of the site's identity secrets.
func SignIdentity(secret []byte, site string, v event.Visitor, until time.Time) (string, error) {
	claims := map[string]any{"aud": site, "exp": until.Unix()}
	if v.UserID != "" {
		claims["sub"] = v.UserID
	}
	if v.Email != "" {
		claims["email"] = v.Email
	}
	text, err := json.Marshal(claims)
	if err != nil {
		return "", fault.New(fault.InternalError, "writing an identity").Because(err)
	}
	return sign(secret, text), nil
}
