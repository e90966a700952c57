package ingest

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

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

// signatureAge is how far the time of a signature may lie from ours.
const signatureAge = 5 * time.Minute

// StandardWebhook checks the signature of a request that was signed by Standard
// Webhooks: webhook-id, webhook-timestamp and webhook-signature, within five
// minutes. It returns the message's id. Secrets may begin with "whsec_" and then
// are base64.
func StandardWebhook(secrets [][]byte, h http.Header, body []byte, now time.Time) (id string, err error) {
	id, stamp := h.Get("Webhook-Id"), h.Get("Webhook-Timestamp")
	seconds, bad := strconv.ParseInt(stamp, 10, 64)
	if id == "" || bad != nil {
		return "", Forbidden("the request has no signature of Standard Webhooks")
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > signatureAge || age < -signatureAge {
		return "", Forbidden("the signature is older than five minutes")
	}
	keys := make([][]byte, 0, len(secrets))
	for _, secret := range secrets {
		if text, ok := strings.CutPrefix(string(secret), "whsec_"); ok {
			if key, err := base64.StdEncoding.DecodeString(text); err == nil {
				secret = key
			}
		}
		keys = append(keys, secret)
	}
	message := slices.Concat([]byte(id), []byte("."), []byte(stamp), []byte("."), body)
	for one := range strings.FieldsSeq(h.Get("Webhook-Signature")) {
		if text, ok := strings.CutPrefix(one, "v1,"); ok && SignedBase64(sha256.New, keys, message, text) {
			return id, nil
		}
	}
	return "", Forbidden("the signature does not fit the request")
}
