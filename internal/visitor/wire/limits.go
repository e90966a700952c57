package wire

import "time"

// Limits. What is above closes the connection with the code beside it.
const (
	MaxFrame    = 64 << 10 // bytes of one frame; CloseTooBig
	MaxBeacon   = 48 << 10 // bytes of a beacon's body; browsers allow 64 KiB in flight
	MaxUnacked  = 200      // signals and tracks that a page keeps; the oldest tracks go first
	MaxApplied  = 100      // answers that a page keeps
	MaxCalls    = 64       // calls that a gateway may have under way on one connection
	MaxID       = 64       // characters of an id, a life or a tab
	MaxName     = 256      // characters of an event's or a function's name
	MaxURL      = 2048     // characters of an address
	FramesRate  = 50       // frames each second that a page may send for long
	FramesBurst = 200      // frames at once
)

// Times of a connection.
const (
	HelloWithin = 10 * time.Second // from the handshake to the hello; CloseProtocol
	PingAfter   = 25 * time.Second // the page's default silence before it pings
	PongWithin  = 10 * time.Second // then it closes, and connects anew
	IdleAfter   = 90 * time.Second // a gateway closes a connection without a frame for so long
	BackoffMin  = 500 * time.Millisecond
	BackoffMax  = 60 * time.Second
)

// The codes that a connection closes with, and what a page does then.
const (
	CloseNormal   = 1000 // The page has said bye.
	CloseGoing    = 1001 // The gateway goes: the page comes again, with jitter.
	CloseProtocol = 1002 // A frame that is none of these: back off for long.
	CloseInvalid  = 1007 // Text that is no UTF-8 or no JSON: back off for long.
	ClosePolicy   = 1008 // Too many frames: back off for long.
	CloseTooBig   = 1009 // A frame above MaxFrame: back off for long.
	CloseInternal = 1011 // Back off.
	CloseBusy     = 1013 // Too slow a reader, or too much to do: back off.
	CloseToken    = 4401 // Token or identity are not good: come again without the token, once.
	CloseRefused  = 4403 // Key, origin or version are refused: never in this page life.
	CloseReplaced = 4409 // The visitor has a newer connection: come again with the focus.
)
