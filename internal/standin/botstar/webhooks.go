package botstar

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// HookEvent is what a webhook is set up for in the bot builder.
type HookEvent string

// The events of webhooks. What the vendor calls them on the wire is unknown; see
// unknownHookName.
const (
	HookCheckpoint HookEvent = "New Checkpoint Record"
	HookSubscriber HookEvent = "New Subscriber"
	HookAttribute  HookEvent = "Updated User Attribute"
	HookTakeover   HookEvent = "New Request for Human Takeover"
	HookTag        HookEvent = "New Tag on User"
	HookCMSItem    HookEvent = "New CMS Item"
	HookCapture    HookEvent = "User Capture Response"
)

// HookEvents returns the seven events.
func HookEvents() []HookEvent {
	return []HookEvent{HookCheckpoint, HookSubscriber, HookAttribute, HookTakeover, HookTag, HookCMSItem, HookCapture}
}

// The environments that a webhook can be for.
const (
	HookLive = "live" // Real users.
	HookTest = "test" // The builder's preview.
)

// Hook is one webhook of a bot.
type Hook struct {
	Event HookEvent
	// Environment is HookLive or HookTest.
	Environment string
	URL         string
}

// HookUser is a user as webhooks show it.
type HookUser struct {
	ID         string         `json:"id"`
	Name       string         `json:"name,omitempty"`
	FirstName  string         `json:"first_name,omitempty"`
	LastName   string         `json:"last_name,omitempty"`
	Email      string         `json:"email,omitempty"`
	Tags       []string       `json:"tags,omitempty"`
	Attributes map[string]any `json:"attributes,omitempty"`
}

// Happening is something that happened in a bot.
type Happening struct {
	Event       HookEvent
	Environment string
	// ID names it. "" is given one.
	ID   string
	User HookUser
	// At is when it happened. Zero is now.
	At time.Time

	Checkpoint     string         // of HookCheckpoint
	CheckpointData map[string]any // of HookCheckpoint
	Attribute      string         // of HookAttribute
	Value          any            // of HookAttribute
	Tag            string         // of HookTag
	Entity, Item   string         // of HookCMSItem
	Block          string         // of HookCapture
	Response       string         // of HookCapture
}

// WebhooksOptions shape a sender of webhooks. The zero value works.
type WebhooksOptions struct {
	BotID string
	Hooks []Hook
	// Secret signs the bodies, which the vendor does not do.
	Secret []byte
	// Copies is how often every delivery is sent once more.
	Copies int
	// Hold is how many deliveries are held back, and then sent the last one first.
	Hold int
	// Client sends. Nil is a client that waits for 5 seconds.
	Client *http.Client
	// Now is the vendor's clock. Nil means the real one.
	Now func() time.Time
}

// Delivery is one request of a sender: an entry of its ledger.
type Delivery struct {
	Event       HookEvent
	Environment string
	ID, URL     string
	Body        []byte
	// Status is what was answered; 0 when nothing was, and Err says why.
	Status int
	Err    error
}

// Webhooks sends the webhooks of one bot. Like the vendor's, as far as anybody
// knows, they are sent once. It is safe for use by many goroutines.
type Webhooks struct {
	o WebhooksOptions

	mu   sync.Mutex // guards the fields below
	held []Delivery
	done []Delivery
	next int
}

// NewWebhooks returns a sender.
func NewWebhooks(o WebhooksOptions) *Webhooks {
	if o.Client == nil {
		o.Client = &http.Client{Timeout: 5 * time.Second}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Webhooks{o: o}
}

// Happen sends what happened to the webhooks that are set up for it. It returns
// when they have answered, or when it is held back.
func (w *Webhooks) Happen(ctx context.Context, h Happening) error {
	w.mu.Lock()
	w.next++
	if h.ID == "" {
		h.ID = "evt-" + strconv.Itoa(w.next)
	}
	w.mu.Unlock()
	if h.At.IsZero() {
		h.At = w.o.Now()
	}
	body, err := json.Marshal(unknownHookBody(w.o.BotID, h))
	if err != nil {
		return fmt.Errorf("encoding a webhook: %w", err)
	}
	for _, hook := range w.o.Hooks {
		if hook.Event != h.Event || hook.Environment != h.Environment {
			continue
		}
		d := Delivery{Event: h.Event, Environment: h.Environment, ID: h.ID, URL: hook.URL, Body: body}
		for range 1 + w.o.Copies {
			if err := w.deliver(ctx, d); err != nil {
				return err
			}
		}
	}
	return nil
}

// Flush sends what is held back.
func (w *Webhooks) Flush(ctx context.Context) error {
	w.mu.Lock()
	held := w.held
	w.held = nil
	w.mu.Unlock()
	slices.Reverse(held)
	for _, d := range held {
		if err := w.send(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// Deliveries returns the ledger, in the order of sending.
func (w *Webhooks) Deliveries() []Delivery {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.done)
}

func (w *Webhooks) deliver(ctx context.Context, d Delivery) error {
	if w.o.Hold == 0 {
		return w.send(ctx, d)
	}
	w.mu.Lock()
	w.held = append(w.held, d)
	full := len(w.held) >= w.o.Hold
	w.mu.Unlock()
	if full {
		return w.Flush(ctx)
	}
	return nil
}

// send sends one delivery, and notes what was answered. Its error is that of a
// request that cannot be made: whatever the receiver does is in the ledger.
func (w *Webhooks) send(ctx context.Context, d Delivery) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.URL, bytes.NewReader(d.Body))
	if err != nil {
		return fmt.Errorf("making a webhook's request: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	if len(w.o.Secret) > 0 {
		mac := hmac.New(sha256.New, w.o.Secret)
		_, _ = mac.Write(d.Body) // A hash takes everything.
		r.Header.Set("X-Parley-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	answer, err := w.o.Client.Do(r)
	if err != nil {
		d.Err = err
	} else {
		d.Status = answer.StatusCode
		_, _ = io.Copy(io.Discard, answer.Body) // So that the connection can be used again.
		_ = answer.Body.Close()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = append(w.done, d)
	return nil
}
