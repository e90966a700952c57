package ingest

import (
	"net/http"
	"strings"

	"github.com/parley-chat/parley/internal/event"
)

// Granted reads a consent as senders write it: GRANTED and DENIED of Google's
// consent mode, and plain booleans. Anything else was not told.
func Granted(value any) *bool {
	yes, no := true, false
	switch v := value.(type) {
	case bool:
		if v {
			return &yes
		}
		return &no
	case string:
		switch strings.ToLower(v) {
		case "granted", "true", "yes", "1":
			return &yes
		case "denied", "false", "no", "0":
			return &no
		}
	}
	return nil
}

// ConsentState reads the parameter gcs of Google's consent mode: G1, then one
// digit for advertising and one for analytics; "-" was not told. Nil means that
// it says nothing.
func ConsentState(gcs string) *event.Consent {
	rest, ok := strings.CutPrefix(gcs, "G1")
	if !ok || len(rest) != 2 {
		return nil
	}
	c := &event.Consent{Advertising: Granted(rest[:1]), Analytics: Granted(rest[1:])}
	if c.Advertising == nil && c.Analytics == nil {
		return nil
	}
	return c
}

// privacyControl adds the browser's Global Privacy Control to the consent, where
// the request comes from a browser that says it.
func privacyControl(h http.Header, c *event.Consent) *event.Consent {
	if h.Get("Sec-Gpc") != "1" {
		return c
	}
	with := event.Consent{}
	if c != nil {
		with = *c
	}
	yes := true
	with.GPC = &yes
	return &with
}
