package ingesttest

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"
)

// Webhook is a request of a vendor that has no client: its servers send it.
type Webhook struct {
	Method, URL string
	Header      map[string]string
	Body        string
}

// Deliver sends the webhook as a vendor's servers do: again after 5xx, 429 and a
// broken connection, at once, until it is answered otherwise. It returns the last
// answer.
func Deliver(t testing.TB, w Webhook) (status int, body string) {
	t.Helper()
	const tries = 20
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}} // 5 seconds are Segment's patience.
	defer client.CloseIdleConnections()
	for range tries {
		r, err := http.NewRequestWithContext(t.Context(), w.Method, w.URL, bytes.NewReader([]byte(w.Body)))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range w.Header {
			r.Header.Set(name, value)
		}
		answer, err := client.Do(r)
		if err != nil {
			continue
		}
		text, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		status, body = answer.StatusCode, string(text)
		if err == nil && status/100 != 5 && status != http.StatusTooManyRequests {
			return status, body
		}
	}
	t.Errorf("%s %s was given up, with %d %s", w.Method, w.URL, status, body)
	return status, body
}
