package hubspot

import (
	"encoding/json"
	"regexp"
	"strings"
	"time"
)

// input is one record of a batch.
type input struct {
	ID         string            `json:"id,omitempty"`
	IDProperty string            `json:"idProperty,omitempty"`
	Properties map[string]string `json:"properties,omitempty"`
	// Trace is our key of the record. HubSpot repeats it, and says per record what
	// failed only when it is there.
	Trace string `json:"objectWriteTraceId,omitempty"`
}

// object is one record of an answer.
type object struct {
	ID         string               `json:"id"`
	Properties map[string]*string   `json:"properties"`
	History    map[string][]version `json:"propertiesWithHistory"`
	UpdatedAt  time.Time            `json:"updatedAt"`
	Archived   bool                 `json:"archived"`
	New        bool                 `json:"new"`
	Trace      string               `json:"objectWriteTraceId"`
}

// version is one value that a property had.
type version struct {
	Value      string    `json:"value"`
	Timestamp  time.Time `json:"timestamp"`
	SourceType string    `json:"sourceType"`
	SourceID   string    `json:"sourceId"`
}

// get returns the property, "" when it has no value.
func (o *object) get(name string) string {
	if value := o.Properties[name]; value != nil {
		return *value
	}
	return ""
}

// answer is what comes back of a batch, a search or a list.
type answer struct {
	Status  string    `json:"status"`
	Results []object  `json:"results"`
	Errors  []problem `json:"errors"`
	Paging  struct {
		Next struct {
			After string `json:"after"`
		} `json:"next"`
	} `json:"paging"`
}

// problem is HubSpot's error, of a call or of one record of a batch. All of it
// may be missing.
type problem struct {
	Message     string              `json:"message"`
	Category    string              `json:"category"`
	SubCategory json.RawMessage     `json:"subCategory"`
	Correlation string              `json:"correlationId"`
	Policy      string              `json:"policyName"`
	Type        string              `json:"errorType"`
	Context     map[string][]string `json:"context"`
	Errors      []detail            `json:"errors"`
}

// detail is one cause of a problem.
type detail struct {
	Message string              `json:"message"`
	Code    string              `json:"code"`
	In      string              `json:"in"`
	Context map[string][]string `json:"context"`
}

// What is taken from an error. The rest of it is free text, which repeats values
// and has held tokens elsewhere.
var (
	codeForm     = regexp.MustCompile(`^[A-Z][A-Z0-9_]{2,63}$`)
	propertyForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,99}$`)
	traceForm    = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	existingForm = regexp.MustCompile(`Existing ID: ([0-9]{1,20})`)
	innerCode    = regexp.MustCompile(`"error":"([A-Z][A-Z0-9_]{2,63})"`)
	innerName    = regexp.MustCompile(`"name":"([a-z][a-z0-9_]{0,99})"`)
	innerDaily   = regexp.MustCompile(`(?i)\bdaily\b`)
	innerSecond  = regexp.MustCompile(`(?i)\byour secondly\b`)
)

// codes returns the codes that the problem names, the narrowest last.
func (p *problem) codes() []string {
	var codes []string
	add := func(code string) {
		if codeForm.MatchString(code) {
			codes = append(codes, code)
		}
	}
	add(p.Category)
	for _, d := range p.Errors {
		add(d.Code)
	}
	for _, found := range innerCode.FindAllStringSubmatch(p.Message, 8) {
		add(found[1])
	}
	return codes
}

// property returns the name of the property that is to blame, or "".
func (p *problem) property() string {
	candidates := p.Context["propertyName"]
	for _, d := range p.Errors {
		candidates = append(append(candidates, d.Context["propertyName"]...), d.In)
	}
	if found := innerName.FindStringSubmatch(p.Message); found != nil {
		candidates = append(candidates, found[1])
	}
	for _, name := range candidates {
		if propertyForm.MatchString(name) {
			return name
		}
	}
	return ""
}

// existing returns the id of the record that is in the way, or "". HubSpot tells
// it in the message only.
func (p *problem) existing() string {
	if found := existingForm.FindStringSubmatch(p.Message); found != nil {
		return found[1]
	}
	return ""
}

// said is what an error of ours repeats of the problem.
func (p *problem) said() string {
	text := strings.Join(p.codes(), ", ")
	if name := p.property(); name != "" {
		text += " of the property " + name
	}
	if traceForm.MatchString(p.Correlation) {
		text += " (correlation " + p.Correlation + ")"
	}
	return strings.TrimSpace(text)
}
