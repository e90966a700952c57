package posthog

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"io"
	"net/url"
	"strings"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

// maxUnpacked bounds what a packed body may become, in bytes.
const maxUnpacked = 1 << 20

// unwrap returns the JSON of a client's request. Scripts for browsers wrap it, to
// need no preflight: in the field data of a form, as base64; or with gzip in the
// body, which only the address tells, or nothing at all.
func unwrap(r *ingest.Request) ([]byte, error) {
	body, packing := r.Body, r.Query.Get("compression")
	if r.Type == mediaForm || bytes.HasPrefix(body, []byte("data=")) {
		form, err := url.ParseQuery(string(body))
		if err != nil || len(form["data"]) != 1 {
			return nil, fault.New(fault.Malformed, "the form has not one field data").WithFix("send data=…")
		}
		if own := form.Get("compression"); own != "" {
			packing = own
		}
		body = []byte(form.Get("data"))
		if plain := bytes.TrimSpace(body); len(plain) > 0 && plain[0] != '{' && plain[0] != '[' && packing != "lz64" {
			if body, err = unbase64(body); err != nil {
				return nil, err
			}
		}
	} else if packing == "base64" {
		plain, err := unbase64(body)
		if err != nil {
			return nil, err
		}
		body = plain
	}
	switch {
	case packing == "lz64":
		return nil, fault.New(fault.Malformed, "the compression lz64 is not supported").WithFix("send gzip-js or base64; newer clients do")
	case bytes.HasPrefix(body, []byte{0x1f, 0x8b}):
		return gunzip(body)
	case strings.HasPrefix(packing, "gzip") && r.Header.Get("Content-Encoding") == "":
		return nil, fault.New(fault.Malformed, "the body is not packed with gzip, as the address says").WithFix("send gzip")
	}
	return body, nil
}

// unbase64 decodes base64 in either alphabet, with or without padding. A "+" that
// the form has made a space counts as one.
func unbase64(text []byte) ([]byte, error) {
	clean := strings.NewReplacer(" ", "+", "-", "+", "_", "/", "\r", "", "\n", "").Replace(strings.TrimSpace(string(text)))
	plain, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(clean, "="))
	if err != nil {
		return nil, fault.New(fault.Malformed, "the data is not base64").Because(err).WithFix("send the JSON as base64")
	}
	return plain, nil
}

func gunzip(body []byte) ([]byte, error) {
	bad := fault.New(fault.Malformed, "the body cannot be unpacked").WithFix("send the whole body, packed with gzip")
	in, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, bad.Because(err)
	}
	plain, err := io.ReadAll(io.LimitReader(in, maxUnpacked+1))
	switch {
	case len(plain) > maxUnpacked:
		return nil, fault.New(fault.TooLarge, "the body has more than %d bytes", maxUnpacked).WithFix("send fewer events in one request")
	case err != nil:
		return nil, bad.Because(err)
	}
	return plain, nil
}
