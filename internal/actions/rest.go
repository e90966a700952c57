package actions

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
)

// REST sends requests to a vendor's REST API, with the tokens of a site.
// *RESTClient is one.
type REST interface {
	// Ready reports whether the site has a token of the kind, so that a request
	// could be made.
	Ready(ctx context.Context, site string, kind TokenKind) bool
	// Do sends the call, again where that can do no harm, and returns the answer
	// when its status says success. An error is classified; the answer beside it
	// says whether the call may have taken effect all the same.
	Do(ctx context.Context, site string, c Call) (Answer, error)
}

// Call is one request to a vendor's REST API.
type Call struct {
	Method string
	// Base is the address of the API, such as https://apis.example.com/v1.
	Base string
	// Path are the segments below it. Each one is encoded, whatever it holds.
	Path []string
	// Slash ends the path with a slash.
	Slash bool
	Query url.Values
	// Body is sent as JSON. Nil sends none.
	Body any
	// Token is the kind of token that the call needs. It travels as a bearer
	// token, or in the query where TokenIn names a parameter.
	Token   TokenKind
	TokenIn string
	// Repeatable says that doing it twice changes nothing more, so that it is sent
	// again when nobody knows what became of it.
	Repeatable bool
}

// Answer is what came back.
type Answer struct {
	Status int
	// Body is whole, at most as long as the client allows, and holds no token.
	Body []byte
	// Attempts is how often the call was sent.
	Attempts int
	// Doubtful is true when some attempt may have taken effect without an answer
	// that says so.
	Doubtful bool
}

// TokenKind says which of a vendor's tokens a call needs.
type TokenKind string

// The kinds.
const (
	AccountToken TokenKind = "account" // Of the whole account.
	BotToken     TokenKind = "bot"     // Of one bot.
)

// TokenSource hands out the tokens of the sites.
type TokenSource interface {
	// Token returns the site's token of the kind that is good now, and a context
	// for the calls that use it, which ends when the token is revoked. The function
	// ends the use; it is called once. It is asked for every call, so it should
	// answer from memory. The error is fault.TokenMissing when there is none.
	Token(ctx context.Context, site string, kind TokenKind) (context.Context, Token, func(), error)
	// Refused says that the vendor did not take the token, and returns another
	// one, such as a newer one. The error says why there is none.
	Refused(ctx context.Context, site string, kind TokenKind, refused Token) (Token, error)
}

// Token is a credential. It shows itself to nobody but Reveal's caller: printed,
// logged or encoded it is ***.
type Token struct{ value string }

// hidden is what a token looks like.
const hidden = "***"

// NewToken returns the token with the value.
func NewToken(value string) Token { return Token{value} }

// Reveal returns the value. Only what sends a request calls it.
func (t Token) Reveal() string { return t.value }

// String hides the value.
func (Token) String() string { return hidden }

// Format hides the value from every verb, those that look into structs too.
func (Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText hides the value.
func (Token) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue hides the value.
func (Token) LogValue() slog.Value { return slog.StringValue(hidden) }
