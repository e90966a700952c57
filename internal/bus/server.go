package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/parley-chat/parley/internal/fault"
)

// syncInterval is how often the embedded server flushes to the disk, unless it
// flushes always. It costs nothing measurable; the server's own default of two
// minutes loses two minutes at a power cut.
const syncInterval = time.Second

// maxStore is above the sum of the streams' own limits, which are what bounds
// the disk. The server's own default depends on the free space at its start,
// so streams could fail to be created on a full machine only.
const maxStore = 1 << 40

// embedded is a NATS server in this process.
type embedded struct {
	ns   *server.Server
	url  string   // "" when it does not listen
	lock *os.File // held while the directory is in use
}

// startEmbedded returns when JetStream answers.
func startEmbedded(ctx context.Context, log *slog.Logger, o Options) (*embedded, error) {
	host, port, err := loopback(o.Listen)
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	ns, err := server.NewServer(&server.Options{
		ServerName: "parley-embedded",
		DontListen: o.Listen == "",
		Host:       host, Port: port,
		JetStream: true, StoreDir: o.Dir,
		JetStreamMaxStore: maxStore,
		SyncInterval:      syncInterval,
		SyncAlways:        o.Durability == DurabilityAlways,
		NoSigs:            true,
	})
	if err != nil {
		return nil, errors.Join(fault.New(fault.BusUnavailable, "setting up the embedded NATS server").Because(err), lock.Close())
	}
	fatal := make(chan string, 1)
	ns.SetLoggerV2(serverLog{log, fatal}, false, false, false)
	e := &embedded{ns: ns, lock: lock}
	started := make(chan struct{})
	go func() { ns.Start(); close(started) }()
	if err := e.ready(ctx, o, started, fatal); err != nil {
		e.stop()
		return nil, err
	}
	if o.Listen != "" {
		e.url = ns.ClientURL()
	}
	return e, nil
}

// ready waits until the server has started. Asking it for JetStream earlier is
// not enough: it says yes before it has made its directories.
func (e *embedded) ready(ctx context.Context, o Options, started <-chan struct{}, fatal <-chan string) error {
	var why error
	select {
	case text := <-fatal:
		why = errors.New(text)
	case <-ctx.Done():
		why = context.Cause(ctx)
	case <-started:
		select {
		case text := <-fatal:
			why = errors.New(text)
		default:
			if e.ns.JetStreamEnabled() {
				return nil
			}
			why = errors.New("JetStream is not enabled")
		}
	}
	return fault.New(fault.BusUnavailable, "the embedded NATS server did not start in %s", o.Dir).
		WithFix("check that the directory is writable, and that %s is free", orWord(o.Listen, "its port")).Because(why)
}

// stop returns when the directory may be used again.
func (e *embedded) stop() {
	e.ns.Shutdown()
	e.ns.WaitForShutdown()
	// Closing the file frees the lock; there is nothing to lose in it.
	_ = e.lock.Close()
}

// loopback splits the address, and refuses one that other machines can reach:
// the embedded server asks nobody for a password.
func loopback(listen string) (string, int, error) {
	if listen == "" {
		return "", 0, nil
	}
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, fault.New(fault.BadConfig, "the listen address %q is not host:port", listen).Because(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fault.New(fault.BadConfig, "the listen address %q has the port %q", listen, text)
	}
	if host == "" || host == "localhost" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", 0, fault.New(fault.BadConfig, "the embedded NATS server may not listen on %s: it asks for no password", host).
			WithFix("listen on 127.0.0.1, or run an outside NATS server with users and name it in `nats.url`")
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}

// lockDir makes the directory and keeps other processes out of it: two servers
// in one directory destroy it.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.New(fault.BadConfig, "making the directory of the embedded NATS server").Because(err)
	}
	file, err := os.OpenFile(filepath.Join(dir, "parley.lock"), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // The directory is the operator's.
	if err != nil {
		return nil, fault.New(fault.BadConfig, "opening the lock of the embedded NATS server").Because(err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		busy := fault.New(fault.BusUnavailable, "another process uses %s", dir).
			WithFix("stop the other worker, or give this one a directory of its own")
		return nil, errors.Join(busy.Because(err), file.Close())
	}
	return file, nil
}

func orWord(text, word string) string {
	if text == "" {
		return word
	}
	return text
}

// serverLog hands the server's own log on. What it only notes is for debugging
// Parley; its warnings and errors are for the operator.
type serverLog struct {
	log   *slog.Logger
	fatal chan<- string // takes the first reason why the server does not start
}

func (l serverLog) at(level slog.Level, format string, args []any) {
	l.log.LogAttrs(context.Background(), level, "nats server", slog.String("text", fmt.Sprintf(format, args...)))
}

// Noticef logs at debug level.
func (l serverLog) Noticef(format string, args ...any) { l.at(slog.LevelDebug, format, args) }

// Warnf logs a warning.
func (l serverLog) Warnf(format string, args ...any) { l.at(slog.LevelWarn, format, args) }

// Fatalf hands the reason to whoever started the server, or logs it.
func (l serverLog) Fatalf(format string, args ...any) {
	select {
	case l.fatal <- fmt.Sprintf(format, args...):
	default:
		l.at(slog.LevelError, format, args)
	}
}

// Errorf logs an error.
func (l serverLog) Errorf(format string, args ...any) { l.at(slog.LevelError, format, args) }

// Debugf logs at debug level.
func (l serverLog) Debugf(format string, args ...any) { l.at(slog.LevelDebug, format, args) }

// Tracef logs at debug level.
func (l serverLog) Tracef(format string, args ...any) { l.at(slog.LevelDebug, format, args) }
