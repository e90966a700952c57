package ingest

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"net/http"
	"strings"

	"github.com/parley-chat/parley/internal/fault"
)

// Forbidden returns the error of a sender that is not proved. The message never
// tells which part was wrong, nor any of it.
func Forbidden(what string) *fault.Error {
	return fault.New(fault.NotAuthentic, "%s", what)
}

// SignedHex reports whether the text is the lower- or upper-case hex HMAC of
// the message with one of the keys, in constant time.
func SignedHex(h func() hash.Hash, keys [][]byte, message []byte, text string) bool {
	given, err := hex.DecodeString(text)
	return err == nil && signed(h, keys, message, given)
}

// SignedBase64 is SignedHex for the standard base64 with padding.
func SignedBase64(h func() hash.Hash, keys [][]byte, message []byte, text string) bool {
	given, err := base64.StdEncoding.Strict().DecodeString(text)
	return err == nil && signed(h, keys, message, given)
}

func signed(h func() hash.Hash, keys [][]byte, message, given []byte) bool {
	ok := false
	for _, key := range keys { // All of them, so that the time tells nothing.
		if len(key) == 0 {
			continue
		}
		mac := hmac.New(h, key)
		_, _ = mac.Write(message) // A hash takes everything.
		ok = hmac.Equal(mac.Sum(nil), given) || ok
	}
	return ok
}

// Known reports whether the text is one of the secrets, in a time that does not
// depend on either. An empty text or secret never is.
func Known(secrets [][]byte, text string) bool {
	given, found := sha256.Sum256([]byte(text)), 0
	for _, secret := range secrets {
		want := sha256.Sum256(secret)
		if len(secret) > 0 {
			found |= subtle.ConstantTimeCompare(given[:], want[:])
		}
	}
	return found == 1 && text != ""
}

// Bearer returns the token of "Authorization: Bearer …", or "".
func Bearer(h http.Header) string {
	scheme, token, _ := strings.Cut(h.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// Basic returns user and password of "Authorization: Basic …".
func Basic(h http.Header) (user, password string, ok bool) {
	return (&http.Request{Header: h}).BasicAuth()
}
