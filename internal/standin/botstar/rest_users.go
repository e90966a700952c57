package botstar

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// userField is a custom user attribute that was declared.
type userField struct{ ID, Name, Type string }

// dateForm is the form of dates (§3.3).
var dateForm = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}$`)

// AddUser gives the bot a user, and returns the user's id. channel is "" for the
// website, or "facebook". The attribute user_id is the site's own id of the
// person: the widget's visitor of that id is the same user.
func (r *REST) AddUser(bot, channel string, attributes map[string]any, tags ...string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, ok := r.find(bot)
	if !ok {
		return ""
	}
	r.vendor.mu.Lock()
	defer r.vendor.mu.Unlock()
	known := maps.Clone(attributes)
	userID, _ := known["user_id"].(string)
	delete(known, "user_id")
	who := r.vendor.visitorOf(b.AppID, userID, vendorID())
	who.channel = channel
	who.profile.Attributes, who.profile.Tags = known, slices.Clone(tags)
	return who.profile.ID
}

// own are the attributes that every user has (§3.2, 9 and 10).
func own() []string { return []string{"first_name", "last_name", "email", "gender", "birthday"} }

// user returns the user of the path. The caller holds the vendor's lock.
func (x *exchange) user(id string) (*visitor, *refusal) {
	who, ok := x.vendor.byID.get(id)
	if !ok || who.app != x.bot.AppID {
		return nil, refuse(http.StatusNotFound, "user_not_found", "there is no user %s", id)
	}
	return who, nil
}

func (x *exchange) getUser() (any, *refusal) {
	x.vendor.mu.Lock()
	defer x.vendor.mu.Unlock()
	who, no := x.user(x.in.PathValue("user"))
	if no != nil {
		return nil, no
	}
	return who.json(x.bot.AppID), nil
}

func (v *visitor) json(app string) map[string]any {
	known := v.profile.Attributes
	out := map[string]any{
		"name": "", "picture": "", "ip": "", "locale": "en", "timezone": 0, "otn_topics": []any{},
	}
	for _, name := range own() {
		out[name] = ""
	}
	for name, value := range known {
		if name == "avatar" { // The page's name for it (§1.2).
			name = "picture"
		}
		out[name] = value
	}
	first, _ := out["first_name"].(string)
	last, _ := out["last_name"].(string)
	out["name"] = strings.TrimSpace(first + " " + last)
	out["id"], out["board_id"] = v.profile.ID, app
	out["channel"] = orElse(v.channel, "website")
	out["tags"] = append([]string{}, v.profile.Tags...)
	return out
}

func (x *exchange) updateUser() (any, *refusal) {
	x.vendor.mu.Lock()
	defer x.vendor.mu.Unlock()
	who, no := x.user(x.in.PathValue("user"))
	if no != nil {
		return nil, no
	}
	if len(x.body) == 0 {
		return nil, refuse(http.StatusBadRequest, "missing_property", "there is nothing to update")
	}
	for name, value := range x.body {
		if no := x.bot.takes(who, name, value); no != nil {
			return nil, no
		}
	}
	known := map[string]any{}
	maps.Copy(known, who.profile.Attributes) // What the ledger has shown stays as it was.
	maps.Copy(known, x.body)
	who.profile.Attributes, x.changed = known, true
	echo := map[string]any{}
	for _, name := range own() {
		echo[name] = known[name]
	}
	maps.Copy(echo, x.body)
	return echo, nil
}

// takes says why a user cannot have the attribute.
func (b *restBot) takes(who *visitor, name string, value any) *refusal {
	bad := func(what string) *refusal {
		return refuse(http.StatusBadRequest, "invalid_property", "%s must be %s", name, what)
	}
	text, isText := value.(string)
	_, isNumber := value.(float64)
	_, isFlag := value.(bool)
	if !isText && !isNumber && !isFlag {
		return bad("a string, a number or a boolean")
	}
	if slices.Contains(own(), name) {
		switch {
		case !isText:
			return bad("a string")
		case name == "gender" && !slices.Contains([]string{"male", "female", ""}, text):
			return bad("male or female")
		case name == "birthday" && text != "" && !dateForm.MatchString(text):
			return bad("a date, YYYY-MM-DD")
		}
		return nil
	}
	if !b.knownAttribute(who, name) {
		return refuse(http.StatusBadRequest, "unknown_attribute", "no user attribute is called %s", name)
	}
	i := slices.IndexFunc(b.fields, func(f userField) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	switch kind := b.fields[i].Type; {
	case kind == "number" && !isNumber, kind == "boolean" && !isFlag, kind == "string" && !isText:
		return bad("a " + kind)
	case kind == "date" && (!isText || text != "" && !dateForm.MatchString(text)):
		return bad("a date, YYYY-MM-DD")
	}
	return nil
}

func (x *exchange) createUserAttribute() (any, *refusal) {
	if no := x.only("field_name", "field_type"); no != nil {
		return nil, no
	}
	f := userField{ID: vendorID()}
	var no *refusal
	if f.Name, no = x.text("field_name"); no != nil {
		return nil, no
	}
	if f.Type, no = x.text("field_type"); no != nil {
		return nil, no
	}
	if !slices.Contains([]string{"string", "number", "date", "boolean"}, f.Type) {
		return nil, refuse(http.StatusBadRequest, "invalid_property", "field_type cannot be %q", f.Type)
	}
	if slices.Contains(own(), f.Name) || slices.ContainsFunc(x.bot.fields, func(other userField) bool { return other.Name == f.Name }) {
		return nil, refuse(http.StatusConflict, "name_taken", "there is a user attribute %s", f.Name)
	}
	x.bot.fields, x.changed = append(x.bot.fields, f), true
	return map[string]any{"id": f.ID, "field_name": f.Name, "field_type": f.Type}, nil
}

// tags are those that a message to a Facebook user may carry (§3.2, 25).
func messageTags() []string {
	return []string{"CONFIRMED_EVENT_UPDATE", "POST_PURCHASE_UPDATE", "ACCOUNT_UPDATE"}
}

// sendMessage sends a message to a Facebook user.
func (x *exchange) sendMessage() (any, *refusal) {
	if no := x.only("recipient", "message", "options"); no != nil {
		return nil, no
	}
	recipient, _ := x.body["recipient"].(map[string]any)
	id, _ := recipient["id"].(string)
	message, _ := x.body["message"].(map[string]any)
	if id == "" || len(message) == 0 {
		return nil, refuse(http.StatusBadRequest, "missing_property", "recipient.id and message are required")
	}
	options, _ := x.body["options"].(map[string]any)
	if tag, there := options["message_tag"]; there {
		if text, ok := tag.(string); !ok || !slices.Contains(messageTags(), text) {
			return nil, refuse(http.StatusBadRequest, "invalid_property", "message_tag cannot be %v", tag)
		}
	}
	x.vendor.mu.Lock()
	defer x.vendor.mu.Unlock()
	who, ok := x.vendor.byID.get(id)
	switch {
	case !ok:
		return nil, refuse(http.StatusNotFound, "user_not_found", "there is no user %s", id)
	case who.channel != "facebook":
		return nil, refuse(http.StatusUnprocessableEntity, "wrong_channel", "only Facebook users can be sent messages")
	}
	x.changed = true
	return map[string]any{"recipient_id": id, "message_id": "m_" + vendorID()}, nil
}

// broadcast is the operation of the older host.
func (x *exchange) broadcast() (any, *refusal) {
	token := x.in.URL.Query().Get("token")
	if !slices.ContainsFunc(x.bots, func(b *restBot) bool { return token != "" && b.Token == token }) {
		return nil, refuse(http.StatusUnauthorized, "unauthorized", "the access token is wrong")
	}
	if no := x.only("userId", "messages"); no != nil {
		return nil, no
	}
	user, _ := x.body["userId"].(string)
	messages, _ := x.body["messages"].([]any)
	if user == "" || len(messages) == 0 {
		return nil, refuse(http.StatusBadRequest, "missing_property", "userId and messages are required")
	}
	x.vendor.mu.Lock()
	defer x.vendor.mu.Unlock()
	if _, ok := x.vendor.byID.get(user); !ok {
		return nil, refuse(http.StatusNotFound, "user_not_found", "there is no user %s", user)
	}
	x.changed = true
	return map[string]any{"statusCode": 200}, nil
}
