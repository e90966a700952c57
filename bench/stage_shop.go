package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/ours"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
)

// The chats of a page, which its query names.
const (
	chatNone   = "none"   // There is none.
	chatVendor = "vendor" // The vendor's own snippet.
	chatParley = "parley" // Parley, the widget when a command needs it.
)

// raise serves the stand-ins that the benchmark needs.
func (b benchmark) raise(ctx context.Context, s *contend.Setup, dir string) (io.Closer, error) {
	if b.shop {
		return raiseShop(ctx, s, dir)
	}
	return raise(s)
}

// raiseShop serves the stand-ins with a shop whose pages have the chat that their
// query names, and a real gateway for ours. dir is for its bus.
func raiseShop(ctx context.Context, s *contend.Setup, dir string) (io.Closer, error) {
	gate, err := ours.OpenGateway(ctx, filepath.Join(dir, "stage"))
	if err != nil {
		return nil, fmt.Errorf("opening the gateway: %w", err)
	}
	hosts := vendor.New(vendor.Options{Keep: 1, ReportEvery: -1}).Hosts()
	maps.Copy(hosts, shop.New().Hosts())
	hosts[ours.ChatHost] = gate
	if hosts[shop.Host], err = chats(hosts[shop.Host]); err != nil {
		return nil, errors.Join(err, gate.Close()) //nolint:contextcheck // It is closed whatever became of ctx.
	}
	server, err := serve(s, hosts)
	return closers{server, gate}, err
}

// closers are closed in their order.
type closers []io.Closer

// Close closes all that are there.
func (c closers) Close() error {
	var all []error
	for _, one := range c {
		if one != nil {
			all = append(all, one.Close())
		}
	}
	return errors.Join(all...)
}

// chats has the query of a page name its chat.
func chats(next http.Handler) (http.Handler, error) {
	tag, err := ours.Tag()
	if err != nil {
		return nil, fmt.Errorf("making the shop's pages: %w", err)
	}
	instead := map[string]string{chatNone: "", chatParley: tag}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tag, ok := instead[r.URL.Query().Get("chat")]
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		page := whole{header: http.Header{}}
		plain := r.Clone(r.Context())
		plain.Header.Del("Accept-Encoding")
		next.ServeHTTP(&page, plain)
		w.Header().Set("Content-Type", page.header.Get("Content-Type"))
		_, _ = w.Write(exchange(page.body.Bytes(), tag)) // A browser that has gone reads nothing.
	}), nil
}

// exchange puts the tag in the place of the vendor's snippet.
func exchange(page []byte, tag string) []byte {
	at := bytes.Index(page, []byte("window.BotStar ="))
	if at < 0 {
		return page
	}
	from := bytes.LastIndex(page[:at], []byte("<script>"))
	to := at + bytes.Index(page[at:], []byte("</script>")) + len("</script>")
	return append(append(bytes.Clone(page[:from]), tag...), page[to:]...)
}

// whole keeps an answer.
type whole struct {
	header http.Header
	body   bytes.Buffer
}

// Header, Write and WriteHeader implement http.ResponseWriter.
func (w *whole) Header() http.Header { return w.header }

func (w *whole) Write(b []byte) (int, error) { return w.body.Write(b) } //nolint:wrapcheck // It never fails.

// WriteHeader implements http.ResponseWriter.
func (*whole) WriteHeader(int) {}
