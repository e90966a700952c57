// Package wire is what a visitor's page and the gateway say to each other: the
// frames, their limits, and the codes that a connection closes with. The text
// of the protocol is snippet/PROTOCOL.md; the page's half is snippet/src.
package wire

// Version is the protocol's. A gateway answers a hello of another version with
// stop and CloseRefused.
const Version = 1

// Paths below the gateway's base address.
const (
	SocketPath = "/v1/socket" // WebSocket
	BeaconPath = "/v1/beacon" // POST of a Beacon, answered 204
	ConfigPath = "/v1/config" // GET /v1/config/<key>.json, a Config
	FilesPath  = "/v1/files"  // GET /v1/files/<name>: the snippet's files, each for ever
)

// The kinds of frames that a page sends: the field t.
const (
	KindHello   = "hello"
	KindAnswer  = "answer"
	KindSignal  = "signal"
	KindFocus   = "focus"
	KindPage    = "page"
	KindTrack   = "track"
	KindConsent = "consent"
	KindPing    = "ping"
	KindBye     = "bye"
)

// The kinds of frames that a gateway sends.
const (
	KindWelcome = "welcome"
	KindCall    = "call"
	KindAck     = "ack"
	KindConfig  = "config"
	KindPong    = "pong"
	KindDrain   = "drain"
	KindStop    = "stop"
)

// Head is what every frame begins with.
type Head struct {
	T string `json:"t"`
}
