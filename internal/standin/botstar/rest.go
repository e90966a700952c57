package botstar

import (
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// The host names of the REST API: its own, and the older one that only
// broadcasts.
const (
	APIHost       = "apis.botstar.com"
	OlderAPIHost  = "api2.botstar.com"
	apiPrefix     = "/v1"
	maxRESTBody   = 1 << 20
	defaultToken  = "standin-account-token"
	defaultBotKey = "standin-bot-token"
)

// Bot is a bot as the REST API knows it.
type Bot struct {
	// ID is the bot's id. "" makes one.
	ID string
	// AppID is the app whose visitors are the bot's users. "" is the bot's id:
	// where the vendor tells the app id is unknown (§3.5).
	AppID      string
	Name, Team string
	// Token is the bot's own access token, for broadcasts. "" is the same for all
	// bots: see REST.BotToken.
	Token string
}

// REST is the vendor's REST API: 26 operations on bots, their attributes,
// their users and their CMS. It is safe for use by many goroutines.
type REST struct {
	options Options
	vendor  *vendor
	mux     *http.ServeMux
	ledger  restLedger
	chance  restChance

	mu    sync.Mutex // guards the fields below; taken before the vendor's
	bots  []*restBot
	quota quota
}

// restBot is a bot with its two stores.
type restBot struct {
	Bot
	draft, live space
	fields      []userField
}

// space is one store of a bot: the draft that is worked on, or what is live.
type space struct {
	attributes []attribute
	entities   []entity
}

func newREST(o Options, v *vendor) *REST {
	r := &REST{options: o, vendor: v, ledger: restLedger{keep: o.Keep, applied: map[Operation]int{}}}
	for _, b := range o.Bots {
		r.addBot(b)
	}
	if o.Token == "" {
		r.options.Token = defaultToken
	}
	r.mux = r.routes()
	return r
}

// Token returns the account token that the API takes.
func (r *REST) Token() string { return r.options.Token }

// BotToken returns the access token of the bots that were given none.
func (*REST) BotToken() string { return defaultBotKey }

func (r *REST) addBot(b Bot) *restBot {
	if b.ID == "" {
		b.ID = vendorID()
	}
	if b.AppID == "" {
		b.AppID = b.ID
	}
	if b.Token == "" {
		b.Token = defaultBotKey
	}
	bot := &restBot{Bot: b}
	r.bots = append(r.bots, bot)
	return bot
}

// Add adds a bot, and returns its id.
func (r *REST) Add(b Bot) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.addBot(b).ID
}

// Revoke changes the account token: the one before is refused from now on.
func (r *REST) Revoke(next string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.options.Token = next
}

func (r *REST) find(id string) (*restBot, bool) {
	i := slices.IndexFunc(r.bots, func(b *restBot) bool { return b.ID == id })
	if i < 0 {
		return nil, false
	}
	return r.bots[i], true
}

// hosts returns the handlers of the two host names.
func (r *REST) hosts() map[string]http.Handler {
	older := http.NewServeMux()
	older.HandleFunc("POST /broadcast", r.serve(route{op: SendBroadcast, write: true, older: true, handle: (*exchange).broadcast}))
	return map[string]http.Handler{
		APIHost: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			// Both forms of a path are the same, with a slash at the end and without.
			if path, slash := strings.CutSuffix(req.URL.Path, "/"); slash {
				req = req.Clone(req.Context())
				req.URL.Path, req.URL.RawPath = path, strings.TrimSuffix(req.URL.RawPath, "/")
			}
			r.mux.ServeHTTP(w, req)
		}),
		OlderAPIHost: older,
	}
}

// authorised reports whether the header holds the account token in the
// documented form.
func (r *REST) authorised(header string) bool {
	token, ok := strings.CutPrefix(header, "Bearer ")
	return ok && subtle.ConstantTimeCompare([]byte(token), []byte(r.options.Token)) == 1
}
