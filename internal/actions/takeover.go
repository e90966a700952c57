package actions

import "time"

// Takeover is what the vendor's webhooks have told of a visitor and the people
// who answer in the bot's place.
type Takeover struct {
	// RequestedAt is when the visitor asked for a human last; zero when nobody has
	// told of such a request.
	RequestedAt time.Time
	// BotAt is when the bot was last seen at work; zero when nobody has told.
	BotAt time.Time
}

// TakeoverClocks are the vendor's settings that end a takeover by themselves. 0
// is one that nobody has told Parley of.
type TakeoverClocks struct {
	// Idle is how long a conversation may be idle before the block that began the
	// takeover hands it back to the bot.
	Idle time.Duration
	// Session is how long a takeover lasts before it expires.
	Session time.Duration
}

// VendorUser is whom the vendor means by a visitor, as its webhooks tell it.
type VendorUser struct {
	// ID is the vendor's own id; "" when nobody has told it.
	ID string
	// At is when it was told.
	At time.Time
}
