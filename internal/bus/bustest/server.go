package bustest

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/bus"
)

// Server is an outside NATS server on a loopback port. It can be stopped and
// started again with the same streams and the same port, as a machine that
// restarts does.
type Server struct {
	t       testing.TB
	options server.Options
	ns      *server.Server
}

// User may connect to a Server, and do what the permissions say.
type User struct {
	Name, Password string
	// Publish and Listen are the subjects that the user may use. None means all.
	Publish, Listen []string
}

// Serve starts a server. Without users everybody may do everything. It ends
// with the test.
func Serve(t testing.TB, users ...User) *Server {
	t.Helper()
	s := &Server{t: t, options: server.Options{
		ServerName: "bustest", Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 1 << 40,
		NoSigs: true, NoLog: true,
	}}
	for _, user := range users {
		s.options.Users = append(s.options.Users, &server.User{
			Username: user.Name, Password: user.Password,
			Permissions: &server.Permissions{Publish: permission(user.Publish), Subscribe: permission(user.Listen)},
		})
	}
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

func permission(subjects []string) *server.SubjectPermission {
	if len(subjects) == 0 {
		return &server.SubjectPermission{Allow: []string{">"}}
	}
	return &server.SubjectPermission{Allow: subjects}
}

// URL returns where clients reach the server, with the user's name and password.
func (s *Server) URL(user ...User) string {
	address := s.ns.Addr().String()
	if len(user) == 0 {
		return "nats://" + address
	}
	return "nats://" + user[0].Name + ":" + user[0].Password + "@" + address
}

// Bus returns a bus on the server, with all streams.
func (s *Server) Bus() *bus.Bus {
	s.t.Helper()
	return Open(s.t, bus.Options{URL: s.URL()})
}

// Stop stops the server as SIGTERM does. It may be called twice.
func (s *Server) Stop() {
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
}

// Start starts the server again after Stop, on the same port and directory.
func (s *Server) Start() {
	s.t.Helper()
	options := s.options
	ns, err := server.NewServer(&options)
	if err != nil {
		s.t.Fatalf("starting the NATS server: %v", err)
	}
	go ns.Start()
	if !ns.ReadyForConnections(10 * time.Second) {
		s.t.Fatalf("the NATS server does not answer")
	}
	s.ns, s.options.Port = ns, options.Port
}

// Messages returns how many messages the stream holds.
func (s *Server) Messages(stream string) uint64 {
	s.t.Helper()
	return s.Stream(stream).State.Msgs
}

// Waiting returns how many pulls wait at the consumers of the stream.
func (s *Server) Waiting(stream string) int {
	s.t.Helper()
	waiting := 0
	s.consumers(stream, func(_ context.Context, _ jetstream.Stream, info *jetstream.ConsumerInfo) error {
		waiting += info.NumWaiting
		return nil
	})
	return waiting
}

// Pending returns how many messages the consumers of the stream wait to hear of.
func (s *Server) Pending(stream string) int {
	s.t.Helper()
	pending := 0
	s.consumers(stream, func(_ context.Context, _ jetstream.Stream, info *jetstream.ConsumerInfo) error {
		pending += info.NumAckPending
		return nil
	})
	return pending
}

// Consumers returns how many consumers the stream has.
func (s *Server) Consumers(stream string) int {
	s.t.Helper()
	count := 0
	s.consumers(stream, func(context.Context, jetstream.Stream, *jetstream.ConsumerInfo) error { count++; return nil })
	return count
}

// DeleteConsumers deletes the consumers of the stream, as a person might.
func (s *Server) DeleteConsumers(stream string) {
	s.t.Helper()
	s.consumers(stream, func(ctx context.Context, at jetstream.Stream, info *jetstream.ConsumerInfo) error {
		return at.DeleteConsumer(ctx, info.Name)
	})
}

func (s *Server) consumers(stream string, do func(context.Context, jetstream.Stream, *jetstream.ConsumerInfo) error) {
	s.t.Helper()
	s.manage(func(ctx context.Context, js jetstream.JetStream) error {
		at, err := js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		list := at.ListConsumers(ctx)
		for info := range list.Info() {
			if err := do(ctx, at, info); err != nil {
				return err
			}
		}
		return list.Err()
	})
}

// manage asks the server as an administrator does, beside the bus.
func (s *Server) manage(do func(context.Context, jetstream.JetStream) error) {
	s.t.Helper()
	conn, err := nats.Connect(s.URL())
	if err != nil {
		s.t.Fatalf("connecting to the NATS server: %v", err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err == nil {
		err = do(s.t.Context(), js)
	}
	if err != nil {
		s.t.Fatalf("asking the NATS server: %v", err)
	}
}

// Stream returns what the server tells of the stream.
func (s *Server) Stream(name string) *jetstream.StreamInfo {
	s.t.Helper()
	var info *jetstream.StreamInfo
	s.manage(func(ctx context.Context, js jetstream.JetStream) error {
		at, err := js.Stream(ctx, name)
		if err == nil {
			info = at.CachedInfo()
		}
		return err
	})
	return info
}

// Make makes a stream beside the bus, as another version or a person might.
func (s *Server) Make(config jetstream.StreamConfig) {
	s.t.Helper()
	s.manage(func(ctx context.Context, js jetstream.JetStream) error {
		sealed := config.Sealed
		config.Sealed = false // Only an existing stream can be sealed.
		_, err := js.CreateStream(ctx, config)
		if err == nil && sealed {
			config.Sealed = true
			_, err = js.UpdateStream(ctx, config)
		}
		return err
	})
}

// Update changes a stream beside the bus.
func (s *Server) Update(name string, change func(*jetstream.StreamConfig)) {
	s.t.Helper()
	config := s.Stream(name).Config
	change(&config)
	s.manage(func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.UpdateStream(ctx, config)
		return err
	})
}

// Limit bounds the bytes of a stream beside the bus.
func (s *Server) Limit(name string, bytes int64) {
	s.t.Helper()
	s.Update(name, func(c *jetstream.StreamConfig) { c.MaxBytes = bytes })
}

// Forget has a stream forget the ids of its messages after the time.
func (s *Server) Forget(name string, after time.Duration) {
	s.t.Helper()
	s.Update(name, func(c *jetstream.StreamConfig) { c.Duplicates = after })
}

// Delete deletes a stream beside the bus.
func (s *Server) Delete(name string) {
	s.t.Helper()
	s.manage(func(ctx context.Context, js jetstream.JetStream) error { return js.DeleteStream(ctx, name) })
}
