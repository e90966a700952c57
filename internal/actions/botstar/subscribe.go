package botstar

import (
	"context"
	"fmt"
	"slices"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// SubscribeIn is the input of botstar.widget.on_open and on_close. The hubs'
// JavaScript is accepted, handed back inside the snippet, and never run: the
// callback becomes an event on the bus.
type SubscribeIn struct {
	// Callback is a function in JavaScript, as text.
	Callback string `json:"callback,omitempty" jsonschema:"maxLength=65536"`
	// CallbackCode is the body of a function in JavaScript, as text.
	CallbackCode string `json:"callback_code,omitempty" jsonschema:"maxLength=65536"`
}

// SubscribeOut is the output of botstar.widget.on_open and on_close.
type SubscribeOut struct {
	// SubscriptionID is in the events that serve this subscription.
	SubscriptionID string `json:"subscription_id"`
	// EventType is the CloudEvents type of those events, and Subject where the
	// bus has them.
	EventType string `json:"event_type"`
	Subject   string `json:"subject"`
	// Listening is true when the page listens already. Before the widget is
	// booted it is false: the page listens from the boot on.
	Listening bool `json:"listening"`
}

// maxSubscriptions bounds what one session holds.
const maxSubscriptions = 100

// subscribe notes the subscription. Its id follows from the command, so a
// repeated command adds nothing.
func subscribe(ctx context.Context, env actions.Env, fact string, in SubscribeIn) (actions.Done[SubscribeOut], error) {
	id := event.DerivedID("subscription", env.Key)[:16]
	if err := addSubscription(env.State, actions.Subscription{ID: id, Fact: fact}); err != nil {
		return actions.Done[SubscribeOut]{}, err
	}
	var answer struct {
		Listening bool `json:"listening"`
	}
	if err := env.Do(ctx, "listen", nil, &answer); err != nil {
		return actions.Done[SubscribeOut]{}, fmt.Errorf("listening: %w", err)
	}
	done := actions.Done[SubscribeOut]{Output: SubscribeOut{
		SubscriptionID: id, EventType: event.FactType(name, fact), Listening: answer.Listening,
		Subject: event.FactSubject(name, fact, env.Site.Name, event.SessionKey(env.Site.Name, env.Visitor)),
	}}
	if in.Callback != "" || in.CallbackCode != "" {
		done.Advice = "the callback's JavaScript is never run: let a workflow start from the event instead"
	}
	return done, nil
}

func addSubscription(s *actions.State, sub actions.Subscription) error {
	if slices.Contains(s.Subscriptions, sub) {
		return nil
	}
	if len(s.Subscriptions) >= maxSubscriptions {
		return fault.New(fault.BudgetExhausted, "a session holds at most %d subscriptions", maxSubscriptions).
			WithFix("one subscription is enough: every event of the session is on the bus")
	}
	s.Subscriptions = append(s.Subscriptions, sub)
	return nil
}

// proveSubscription reads the record back, and asks the page whether it
// listens. Only a real open or close could prove more.
func proveSubscription(ctx context.Context, env actions.Env, out SubscribeOut) (actions.Proof, error) {
	proof := actions.Proof{Verdict: event.Contradicted}
	for _, sub := range env.State.Subscriptions {
		if sub.ID == out.SubscriptionID {
			proof.Verdict = event.Unverifiable
			proof.Evidence = append(proof.Evidence, evidence(env, "record", "the session holds the subscription"))
		}
	}
	if proof.Verdict == event.Contradicted || !out.Listening {
		return proof, nil
	}
	var page pageState
	if err := env.Look(ctx, "state", nil, &page); err != nil {
		return proof, fmt.Errorf("asking the page whether it listens: %w", err)
	}
	if page.Listening {
		proof.Verdict = event.Confirmed
		proof.Evidence = append(proof.Evidence, evidence(env, "callback", "our own onOpen and onClose listeners are registered"))
	}
	return proof, nil
}

// subscriptionsTo returns the ids of the subscriptions to the fact.
func subscriptionsTo(s *actions.State, fact string) []string {
	var ids []string
	for _, sub := range s.Subscriptions {
		if sub.Fact == fact {
			ids = append(ids, sub.ID)
		}
	}
	return ids
}
