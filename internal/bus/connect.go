package bus

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/fault"
)

const (
	// maxAsync bounds the publishes that wait for their acknowledgement.
	maxAsync = 4000
	// stallWait is how long a publish waits for room among them. The library's
	// default of 200 ms fails under load.
	stallWait = 20 * time.Second
	// ackTimeout is how long an attempt to publish waits for its acknowledgement.
	// A leader that goes away answers nothing.
	ackTimeout = 4 * time.Second
	// dialTimeout bounds one attempt to connect.
	dialTimeout = 5 * time.Second
)

// connect makes the connection and keeps it. In process it needs no socket.
func (b *Bus) connect(ctx context.Context) error {
	opts := []nats.Option{
		nats.Name(b.opts.Name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, time.Second),
		// No buffer: after a gap, nothing old may be published by itself.
		nats.ReconnectBufSize(-1),
		nats.Timeout(dialTimeout),
		nats.PingInterval(20 * time.Second),
		nats.MaxPingsOutstanding(3),
		nats.ErrorHandler(b.onError),
		nats.DisconnectErrHandler(b.onDisconnect),
		nats.ReconnectHandler(b.onReconnect),
		nats.ClosedHandler(b.onClosed),
	}
	if b.opts.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(b.opts.InboxPrefix))
	}
	if b.opts.Credentials != "" {
		opts = append(opts, nats.UserCredentials(b.opts.Credentials))
	}
	if b.opts.CA != "" {
		opts = append(opts, nats.RootCAs(b.opts.CA))
	}
	if b.server != nil {
		opts = append(opts, nats.InProcessServer(b.server.ns))
	}
	conn, err := b.dial(ctx, opts)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", b.where(), classify(err))
	}
	js, err := jetstream.New(conn,
		jetstream.WithPublishAsyncMaxPending(maxAsync),
		jetstream.WithPublishAsyncTimeout(ackTimeout),
		jetstream.WithDefaultTimeout(b.opts.Timeout))
	if err != nil {
		conn.Close()
		return fmt.Errorf("preparing JetStream: %w", classify(err))
	}
	b.conn, b.js = conn, js
	b.async = []jetstream.PublishOpt{jetstream.WithStallWait(stallWait), jetstream.WithRetryAttempts(0)}
	b.inbox = newInbox(conn)
	return nil
}

// dial connects, and gives up waiting when the context ends.
func (b *Bus) dial(ctx context.Context, opts []nats.Option) (*nats.Conn, error) {
	type answer struct {
		conn *nats.Conn
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		conn, err := nats.Connect(b.opts.URL, opts...)
		done <- answer{conn, err}
	}()
	select {
	case a := <-done:
		return a.conn, a.err
	case <-ctx.Done():
		go func() {
			if a := <-done; a.conn != nil {
				a.conn.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// onError hears what nobody asked for: above all, denied permissions. The
// library tells the caller nothing of them, and lets a publish time out.
func (b *Bus) onError(_ *nats.Conn, sub *nats.Subscription, err error) {
	if verb, subject, ok := deniedSubject(err); ok {
		b.denials.add(verb, subject)
		b.log.LogAttrs(context.Background(), slog.LevelWarn, "nats denied a permission",
			slog.String("verb", verb), slog.String("subject", subject))
		return
	}
	attrs := []slog.Attr{slog.Any("err", err)}
	if sub != nil {
		attrs = append(attrs, slog.String("subject", sub.Subject))
	}
	b.log.LogAttrs(context.Background(), slog.LevelWarn, "nats reported an error", attrs...)
}

func (b *Bus) onDisconnect(conn *nats.Conn, err error) {
	b.breaks.Add(1) // First, because others may take our partitions from now on.
	if conn.IsClosed() {
		return
	}
	b.log.LogAttrs(context.Background(), slog.LevelWarn, "nats connection lost", slog.Any("err", err))
}

func (b *Bus) onReconnect(*nats.Conn) {
	b.mu.Lock()
	close(b.lost)
	b.lost = make(chan struct{})
	b.mu.Unlock()
	b.log.LogAttrs(context.Background(), slog.LevelInfo, "nats connection made again")
}

// onClosed hears that the connection is gone for good: we closed it, or the
// server refuses our credentials.
func (b *Bus) onClosed(conn *nats.Conn) {
	b.mu.Lock()
	if err := conn.LastError(); err != nil {
		b.why = classify(err)
	}
	b.mu.Unlock()
	close(b.closed)
}

var permissionForm = regexp.MustCompile(`(?i)permissions violation for (publish|subscription) to "([^"]+)"`)

// deniedSubject reads which permission is missing.
func deniedSubject(err error) (verb, subject string, ok bool) {
	match := permissionForm.FindStringSubmatch(err.Error())
	if match == nil {
		return "", "", false
	}
	if match[1][0] == 'p' || match[1][0] == 'P' {
		return verbPublish, match[2], true
	}
	return verbListen, match[2], true
}

// deniedErr is what the caller gets.
func deniedErr(verb, subject string) *fault.Error {
	return fault.New(fault.BusDenied, "these credentials may not %s %s", verb, subject).
		WithFix("use credentials that may %s %s", verb, subject)
}
