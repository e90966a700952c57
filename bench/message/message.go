// Package message makes the messages that the benchmarks send: the same for
// ours and for those it is measured against.
package message

import (
	"fmt"
	"time"

	"github.com/parley-chat/parley/internal/event"
)

// Site is the site of the commands.
const Site = "shop"

// The actions of the commands: the main job's, and the one with most to check.
const (
	Open   = "botstar.widget.open"
	Update = "botstar.widget.update"
)

// source is the sender of the messages.
const source = "https://parley.chat/bench"

// Command returns the n-th command, for a visitor of that number: in turns one
// that opens the window, and one that updates eight attributes.
func Command(n, visitor int) event.Envelope {
	who := event.Visitor{UserID: fmt.Sprintf("u-%d", visitor), Email: fmt.Sprintf("visitor-%d@example.test", visitor)}
	action, params := Open, "{}"
	if n%2 == 1 {
		action = Update
		params = fmt.Sprintf(`{"first_name":"Ada","last_name":"Lovelace","gender":"female","birthday":"1815-12-10",`+
			`"plan":"pro","seats":%d,"newsletter":true,"tags":["pricing","returning"]}`, n%50)
	}
	session := event.SessionKey(Site, who)
	at := time.Now().UTC()
	data := fmt.Appendf(nil, `{"site":%q,"visitor":{"user_id":%q,"email":%q},"params":%s}`, Site, who.UserID, who.Email, params)
	return event.Envelope{
		ID: fmt.Sprintf("cmd-%08d", n), Source: source, Type: event.CommandType(action), Subject: Site + "/" + session,
		Time: at, DataSchema: event.SchemaURI(event.CommandType(action)), Data: data,
		Extensions: map[string]string{
			event.ExtPartitionKey:  session,
			event.ExtCorrelationID: fmt.Sprintf("trigger-%08d", n),
			event.ExtExpiryTime:    at.Add(time.Minute).Format(time.RFC3339Nano),
		},
	}
}

// CommandSubject returns the subject that the command is published on.
func CommandSubject(command event.Envelope) string {
	return event.CommandSubject(event.ClassWrite, actionOf(command), Site, session(command))
}

// ResultSubject returns the subject of the command's result.
func ResultSubject(command event.Envelope) string {
	return event.ResultSubject(actionOf(command), Site, session(command))
}

// Result returns the result of the command, as a worker would publish it.
func Result(command event.Envelope) event.Envelope {
	action, output := actionOf(command), `{"open":true,"changed":true}`
	if action == Update {
		output = `{"applied":true,"throttled":false,"budget_left":19,"persisted":true,` +
			`"attributes":["birthday","first_name","gender","last_name","newsletter","plan","seats","tags"]}`
	}
	at := time.Now().UTC()
	data := fmt.Appendf(nil, `{"command_id":%q,"command_source":%q,"action":%q,"site":%q,"session":%q,"status":"succeeded",`+
		`"verified":true,"verdict":"confirmed","output":%s,"executor":"headless","worker":"bench","attempt":1,`+
		`"started_at":%q,"duration_us":12}`,
		command.ID, command.Source, action, Site, session(command), output, at.Format(time.RFC3339Nano))
	return event.Envelope{
		ID: "res-" + command.ID, Source: source, Type: event.ResultType(action), Subject: command.Subject,
		Time: at, DataSchema: event.SchemaURI(event.ResultType(action)), Data: data,
		Extensions: map[string]string{
			event.ExtPartitionKey:  session(command),
			event.ExtCorrelationID: command.Extension(event.ExtCorrelationID),
			event.ExtCausationID:   command.ID,
		},
	}
}

// Fact returns the fact that follows a command to open.
func Fact(command event.Envelope) event.Envelope {
	at := time.Now().UTC()
	typ := event.FactType("botstar", event.FactWidgetOpened)
	data := fmt.Appendf(nil, `{"site":%q,"session":%q,"provider":"botstar","at":%q,"cause":"api","command_id":%q,`+
		`"page":"https://shop.example.test/","subscriptions":["s-1"]}`,
		Site, session(command), at.Format(time.RFC3339Nano), command.ID)
	return event.Envelope{
		ID: "evt-" + command.ID, Source: source, Type: typ, Subject: command.Subject,
		Time: at, DataSchema: event.SchemaURI(typ), Data: data,
		Extensions: map[string]string{
			event.ExtPartitionKey:  session(command),
			event.ExtCorrelationID: command.Extension(event.ExtCorrelationID),
			event.ExtCausationID:   command.ID,
		},
	}
}

// Mix returns one of each kind that crosses the bus: two commands, a result and
// a fact.
func Mix(round int) []event.Envelope {
	open, update := Command(2*round, 7), Command(2*round+1, 7)
	return []event.Envelope{open, update, Result(update), Fact(open)}
}

func session(command event.Envelope) string { return command.Extensions[event.ExtPartitionKey] }

func actionOf(command event.Envelope) string {
	action, _ := event.ActionOfType(command.Type)
	return action
}
