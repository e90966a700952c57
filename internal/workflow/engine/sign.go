package engine

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// sign adds the headers of Standard Webhooks: an id that is the same at every
// attempt, the time of this one, and the signature of both with the body. A
// secret with the prefix whsec_ is base64. Without a secret there is no
// signature.
func sign(header http.Header, id, secret string, at time.Time, body []byte) {
	stamp := strconv.FormatInt(at.Unix(), 10)
	header.Set("Webhook-Id", id)
	header.Set("Webhook-Timestamp", stamp)
	if secret == "" {
		return
	}
	mac := hmac.New(sha256.New, keyOf(secret))
	// Writing to a hash never fails.
	_, _ = mac.Write([]byte(id + "." + stamp + "."))
	_, _ = mac.Write(body)
	header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// keyOf returns the bytes of the secret.
func keyOf(secret string) []byte {
	if text, ok := strings.CutPrefix(secret, "whsec_"); ok {
		if key, err := base64.StdEncoding.DecodeString(text); err == nil {
			return key
		}
	}
	return []byte(secret)
}
