package message

import (
	"fmt"
	"time"

	"github.com/parley-chat/parley/internal/event"
)

// Provider is the vendor of the chats.
const Provider = "botstar"

// Page is where the chats happen.
const Page = "https://shop.example.test/pricing"

// Letter is a message with its subject.
type Letter struct {
	Subject string
	event.Envelope
}

// Chat is the chat of one visitor, who does nothing else.
type Chat struct {
	Visitor event.Visitor
	Session string
}

// ChatOf returns the chat of the n-th visitor.
func ChatOf(n int) Chat {
	who := event.Visitor{UserID: fmt.Sprintf("u-%08d", n), Email: fmt.Sprintf("u%d@example.test", n)}
	return Chat{who, event.SessionKey(Site, who)}
}

// Known says who the visitor is.
func (c Chat) Known(at time.Time, traits map[string]any) (Letter, error) {
	return c.letter(event.TriggerSubject(sourceName, event.KindIdentify, Site, c.Session), event.TriggerType(event.KindIdentify),
		event.Trigger{Site: Site, Visitor: c.Visitor, Event: "identify", OccurredAt: at, Traits: traits})
}

// Opened says that the visitor opened the chat.
func (c Chat) Opened(at time.Time) (Letter, error) {
	return c.fact(event.FactWidgetOpened, event.WidgetOpened{Occurrence: c.occurrence(at)})
}

// Closed says that the visitor closed it.
func (c Chat) Closed(at time.Time) (Letter, error) {
	return c.fact(event.FactWidgetClosed, event.WidgetClosed{Occurrence: c.occurrence(at)})
}

func (c Chat) occurrence(at time.Time) event.Occurrence {
	return event.Occurrence{Site: Site, Session: c.Session, Provider: Provider, At: at, Cause: event.CauseVisitor, Page: Page}
}

func (c Chat) fact(name string, data any) (Letter, error) {
	return c.letter(event.FactSubject(Provider, name, Site, c.Session), event.FactType(Provider, name), data)
}

func (c Chat) letter(subject, typ string, data any) (Letter, error) {
	e, err := event.New("/bench", typ, c.Session, data)
	if err != nil {
		return Letter{}, fmt.Errorf("making a %s: %w", typ, err)
	}
	return Letter{subject, e}, nil
}
