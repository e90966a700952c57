package botstar

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// Operation names an operation of the REST API.
type Operation string

// The operations, in the order of §3.2.
const (
	ListBots            Operation = "bots.list"
	CreateBot           Operation = "bots.create"
	GetBot              Operation = "bots.get"
	PublishBot          Operation = "bots.publish"
	ListAttributes      Operation = "attributes.list"
	CreateAttribute     Operation = "attributes.create"
	UpdateAttribute     Operation = "attributes.update"
	DeleteAttribute     Operation = "attributes.delete"
	GetUser             Operation = "users.get"
	UpdateUser          Operation = "users.update"
	CreateUserAttribute Operation = "user_attributes.create"
	ListEntities        Operation = "entities.list"
	CreateEntity        Operation = "entities.create"
	GetEntity           Operation = "entities.get"
	UpdateEntity        Operation = "entities.update"
	DeleteEntity        Operation = "entities.delete"
	CreateFields        Operation = "fields.create"
	UpdateFields        Operation = "fields.update"
	DeleteFields        Operation = "fields.delete"
	ListItems           Operation = "items.list"
	CreateItem          Operation = "items.create"
	GetItem             Operation = "items.get"
	UpdateItem          Operation = "items.update"
	DeleteItem          Operation = "items.delete"
	SendMessage         Operation = "messages.send"
	SendBroadcast       Operation = "broadcast"
)

// route is one operation and what serves it.
type route struct {
	pattern string
	op      Operation
	write   bool
	older   bool // the older host, with a bot's token in the query
	handle  func(*exchange) (any, *refusal)
}

func (r *REST) routes() *http.ServeMux {
	const bot = "/bots/{bot}"
	const attribute = bot + "/attributes/{attribute}"
	const entity = bot + "/cms_entities/{entity}"
	const item = entity + "/items/{item}"
	mux := http.NewServeMux()
	for _, at := range []route{
		{"GET /bots", ListBots, false, false, (*exchange).listBots},
		{"POST /bots", CreateBot, true, false, (*exchange).createBot},
		{"GET " + bot, GetBot, false, false, (*exchange).getBot},
		{"POST " + bot + "/publish", PublishBot, true, false, (*exchange).publish},
		{"GET " + bot + "/attributes", ListAttributes, false, false, (*exchange).listAttributes},
		{"POST " + bot + "/attributes", CreateAttribute, true, false, (*exchange).createAttribute},
		{"PATCH " + attribute, UpdateAttribute, true, false, (*exchange).updateAttribute},
		{"DELETE " + attribute, DeleteAttribute, true, false, (*exchange).deleteAttribute},
		{"GET " + bot + "/users/{user}", GetUser, false, false, (*exchange).getUser},
		{"PATCH " + bot + "/users/{user}", UpdateUser, true, false, (*exchange).updateUser},
		{"POST " + bot + "/users/attributes", CreateUserAttribute, true, false, (*exchange).createUserAttribute},
		{"GET " + bot + "/cms_entities", ListEntities, false, false, (*exchange).listEntities},
		{"POST " + bot + "/cms_entities", CreateEntity, true, false, (*exchange).createEntity},
		{"GET " + entity, GetEntity, false, false, (*exchange).getEntity},
		{"PATCH " + entity, UpdateEntity, true, false, (*exchange).updateEntity},
		{"DELETE " + entity, DeleteEntity, true, false, (*exchange).deleteEntity},
		{"POST " + entity + "/fields", CreateFields, true, false, (*exchange).createFields},
		{"PATCH " + entity + "/fields", UpdateFields, true, false, (*exchange).updateFields},
		{"DELETE " + entity + "/fields", DeleteFields, true, false, (*exchange).deleteFields},
		{"GET " + entity + "/items", ListItems, false, false, (*exchange).listItems},
		{"POST " + entity + "/items", CreateItem, true, false, (*exchange).createItem},
		{"GET " + item, GetItem, false, false, (*exchange).getItem},
		{"PATCH " + item, UpdateItem, true, false, (*exchange).updateItem},
		{"DELETE " + item, DeleteItem, true, false, (*exchange).deleteItem},
		{"POST /messages", SendMessage, true, false, (*exchange).sendMessage},
	} {
		method, path, _ := strings.Cut(at.pattern, " ")
		mux.HandleFunc(method+" "+apiPrefix+path, r.serve(at))
	}
	return mux
}

// refusal is an error answer.
type refusal struct {
	status        int
	code, message string
}

func refuse(status int, code, format string, args ...any) *refusal {
	return &refusal{status, code, fmt.Sprintf(format, args...)}
}

// exchange is one request on its way through the API. Its handlers run with the
// lock of the API.
type exchange struct {
	*REST
	route route
	in    *http.Request
	body  map[string]any
	list  []any // the body, when it is an array
	bot   *restBot
	// changed is true when something of the vendor's is not what it was before.
	changed bool
}

// serve answers the requests of one operation.
func (r *REST) serve(at route) http.HandlerFunc {
	return func(w http.ResponseWriter, in *http.Request) {
		fault := r.chance.next(at.op)
		if !wait(in, fault.Delay) {
			return
		}
		x := &exchange{REST: r, route: at, in: in}
		var answer any
		var no *refusal
		switch {
		case fault.Silent, fault.Hollow != "":
		case fault.Status != 0:
			no = refuse(fault.Status, "injected", "%s", orElse(fault.Says, "the stand-in was told to fail"))
		default:
			answer, no = x.do()
		}
		status := http.StatusOK
		if no != nil {
			status, answer = no.status, map[string]string{"error": no.code, "message": no.message}
		}
		if fault.Late != 0 {
			status, answer = fault.Late, map[string]string{"error": "injected", "message": "it failed after it was done"}
		}
		r.ledger.add(RESTCall{
			At: r.options.Now(), Operation: at.op, Method: in.Method, Path: in.URL.Path, Status: status,
			Changed: x.changed, Fault: fault.name(),
		})
		fault.answer(w, in, status, answer)
	}
}

// do reads the request, and lets the operation answer it.
func (x *exchange) do() (any, *refusal) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if no := x.overLimit(); no != nil {
		return nil, no
	}
	if !x.route.older && !x.authorised(x.in.Header.Get("Authorization")) {
		return nil, refuse(http.StatusUnauthorized, "unauthorized", "the API token is missing or wrong")
	}
	if no := x.read(); no != nil {
		return nil, no
	}
	if id := x.in.PathValue("bot"); id != "" {
		bot, ok := x.find(id)
		if !ok {
			return nil, refuse(http.StatusNotFound, "bot_not_found", "there is no bot %s", id)
		}
		x.bot = bot
	}
	return x.route.handle(x)
}

// read reads a body of JSON: an object, or where the operation takes it an
// array.
func (x *exchange) read() *refusal {
	raw, err := io.ReadAll(http.MaxBytesReader(nil, x.in.Body, maxRESTBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return refuse(http.StatusRequestEntityTooLarge, "too_large", "the body is larger than %d bytes", maxRESTBody)
	}
	if err != nil {
		return refuse(http.StatusBadRequest, "bad_request", "the body could not be read")
	}
	if len(raw) == 0 {
		return nil
	}
	if !strings.HasPrefix(x.in.Header.Get("Content-Type"), "application/json") {
		return refuse(http.StatusUnsupportedMediaType, "bad_request", "the body is not application/json")
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return refuse(http.StatusBadRequest, "bad_request", "the body is not JSON")
	}
	switch value := value.(type) {
	case map[string]any:
		x.body = value
	case []any:
		x.list = value
	default:
		return refuse(http.StatusBadRequest, "bad_request", "the body is no object")
	}
	return nil
}

// only refuses names in the body that the operation does not know.
func (x *exchange) only(names ...string) *refusal {
	for name := range x.body {
		if !slices.Contains(names, name) {
			return refuse(http.StatusBadRequest, "unknown_property", "%q is not allowed here", name)
		}
	}
	return nil
}

// text returns a text of the body, which must be there, and not be longer than a
// name may be.
func (x *exchange) text(name string) (string, *refusal) {
	value, there := x.body[name]
	text, ok := value.(string)
	switch {
	case there && !ok:
		return "", refuse(http.StatusBadRequest, "invalid_property", "%s must be a string", name)
	case text == "":
		return "", refuse(http.StatusBadRequest, "missing_property", "%s is required", name)
	case len([]rune(text)) > maxName:
		return "", refuse(http.StatusBadRequest, "invalid_property", "%s is longer than %d characters", name, maxName)
	}
	return text, nil
}

// maxName is the most characters of a name (§3.2).
const maxName = 250

// success is the answer of a change that returns no object.
func success() any { return map[string]string{"status": "success"} }

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
