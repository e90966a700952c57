package hubspot

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
)

// problem is HubSpot's error, of a call or of one input of a batch.
type problem struct {
	status   int
	header   http.Header
	Status   string              `json:"status"`
	Category string              `json:"category"`
	Message  string              `json:"message"`
	ID       string              `json:"correlationId"`
	Context  map[string][]string `json:"context,omitempty"`
	Errors   []cause             `json:"errors,omitempty"`
	Links    map[string]string   `json:"links,omitempty"`
	Type     string              `json:"errorType,omitempty"`
	Policy   string              `json:"policyName,omitempty"`
	Group    string              `json:"groupName,omitempty"`
	Request  string              `json:"requestId,omitempty"`
}

type cause struct {
	Message string              `json:"message"`
	Code    string              `json:"code,omitempty"`
	In      string              `json:"in,omitempty"`
	Context map[string][]string `json:"context,omitempty"`
}

func newProblem(status int, category, message string) *problem {
	return &problem{status: status, Status: "error", Category: category, Message: message, ID: correlation()}
}

func notFound(message string) *problem {
	return newProblem(http.StatusNotFound, "OBJECT_NOT_FOUND", message)
}

func invalid(message string) *problem {
	return newProblem(http.StatusBadRequest, "VALIDATION_ERROR", message)
}

// badProperty is HubSpot's way to speak of a property: JSON inside the message,
// with the value in it.
func badProperty(code, name, message string) *problem {
	inner, err := json.Marshal([]map[string]any{{"isValid": false, "message": message, "error": code, "name": name}})
	if err != nil {
		return invalid(message)
	}
	p := invalid("Property values were not valid: " + string(inner))
	p.Errors = []cause{{Message: message, Code: code, In: name, Context: map[string][]string{"propertyName": {name}}}}
	return p
}

// conflict tells the id of the record in the way, in the message only.
func conflict(existing string) *problem {
	return newProblem(http.StatusConflict, "CONFLICT", "Contact already exists. Existing ID: "+existing)
}

// limit is a 429.
func limit(policy, message string) *problem {
	p := newProblem(http.StatusTooManyRequests, "RATE_LIMITS", message)
	p.Type, p.Policy, p.Group, p.Request = "RATE_LIMIT", policy, "publicapi:oauth:4711", correlation()
	return p
}

func (p *problem) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), p.header)
	send(w, p.status, p)
}

// send writes the answer as JSON.
func send(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{}`)
	}
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write(text)
}
