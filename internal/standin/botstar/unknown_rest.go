package botstar

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// This file holds what nobody outside BotStar knows about its REST API, and
// what the stand-in does instead. Sections are those of the BotStar contract.

// The stores that an operation works on when it names none (§3.1: unknown).
const defaultEnv = "draft"

// envs returns the stores that the request names. A read takes draft or live,
// a change takes draft or draft,live; live alone, which one public client sends
// with changes, contradicts all others and is refused (§3.1).
func (x *exchange) envs() ([]*space, *refusal) {
	env := x.in.URL.Query().Get("env")
	switch {
	case env == "" || env == defaultEnv:
		return []*space{&x.bot.draft}, nil
	case env == "live" && !x.route.write:
		return []*space{&x.bot.live}, nil
	case env == "draft,live" && x.route.write:
		return []*space{&x.bot.draft, &x.bot.live}, nil
	}
	return nil, refuse(http.StatusBadRequest, "invalid_env", "env cannot be %q here", env)
}

// quota is the API's rate limit (§3.1: unknown whether there is one, and how it
// counts). It counts the calls of the account in a sliding window, refuses with
// 429 and says how long to wait.
type quota struct {
	limit Throttle
	calls []time.Time
}

func (x *exchange) overLimit() *refusal {
	q := &x.quota
	if q.limit.Limit <= 0 {
		return nil
	}
	now := x.options.Now()
	q.calls = slices.DeleteFunc(q.calls, func(at time.Time) bool { return now.Sub(at) >= q.limit.Window })
	if len(q.calls) >= q.limit.Limit {
		return refuse(http.StatusTooManyRequests, "rate_limited", "too many requests")
	}
	q.calls = append(q.calls, now)
	return nil
}

// both puts the item's id under both of its names: the documented key is id,
// and the one that was recorded from a live account is _id (§3.3).
func both(item map[string]any, id string) map[string]any {
	item["id"], item["_id"] = id, id
	return item
}

// localised reports whether the key is the value in one language, such as
// value_es, and its language (§3.3: which languages a bot has is not readable).
func localised(key string) bool {
	language, ok := strings.CutPrefix(key, "value_")
	return ok && len(language) >= 2 && len(language) <= 10
}

// knownAttribute reports whether a user may be given the custom attribute
// (§3.2, 10: what happens with one that nobody declared is unknown). Here it must
// be declared, or be there already because the page sent it.
func (b *restBot) knownAttribute(who *visitor, name string) bool {
	_, there := who.profile.Attributes[name]
	return there || slices.ContainsFunc(b.fields, func(f userField) bool { return f.Name == name })
}

// sameName reports whether a filter by name takes the item (§3.2, 20: unknown
// whether the whole name is meant). Here it is, in any case.
func sameName(filter, name string) bool { return filter == "" || strings.EqualFold(filter, name) }
