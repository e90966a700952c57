package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/centrifugal/centrifuge"

	"github.com/parley-chat/parley/bench/crowd"
)

// centrifugal holds visitors by Centrifuge: each with a channel of his own, by
// which he can be reached, as he has a subject of his own at our gateway.
type centrifugal struct {
	node   *centrifuge.Node
	server *http.Server
	ended  chan error
}

// Open implements crowd.Server.
func (c *centrifugal) Open() (_ crowd.Talk, err error) {
	if c.node, err = centrifuge.New(centrifuge.Config{}); err != nil {
		return crowd.Talk{}, fmt.Errorf("making the node: %w", err)
	}
	c.node.OnConnecting(func(_ context.Context, e centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{
			Credentials:   &centrifuge.Credentials{UserID: e.Token},
			Subscriptions: map[string]centrifuge.SubscribeOptions{"#" + e.Token: {}},
		}, nil
	})
	c.node.OnConnect(func(client *centrifuge.Client) {
		client.OnRPC(func(e centrifuge.RPCEvent, answer centrifuge.RPCCallback) {
			answer(centrifuge.RPCReply{Data: e.Data}, nil)
		})
	})
	if err := c.node.Run(); err != nil {
		return crowd.Talk{}, fmt.Errorf("running the node: %w", err)
	}
	// The settings that its documentation names for many idle connections.
	handler := centrifuge.NewWebsocketHandler(c.node, centrifuge.WebsocketConfig{
		CheckOrigin: func(*http.Request) bool { return true }, UseWriteBufferPool: true, ReadBufferSize: 512, ProcessCommandsOffReadLoop: true,
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return crowd.Talk{}, fmt.Errorf("listening for visitors: %w", err)
	}
	c.server, c.ended = &http.Server{Handler: handler}, make(chan error, 1)
	go func() { c.ended <- c.server.Serve(l) }()
	return crowd.Talk{
		Address: l.Addr().String(), Path: "/", Origin: "https://shop.example.test",
		Hello: `{"id":1,"connect":{"token":"visitor-%d"}}`, Welcome: `"connect":`,
		Ask: `{"id":2,"rpc":{"data":{"t":"ping"}}}`, Answer: `"rpc":`,
	}, nil
}

// Shut implements crowd.Server.
func (c *centrifugal) Shut() error {
	err := errors.Join(c.node.Shutdown(context.Background()), c.server.Close())
	if served := <-c.ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
