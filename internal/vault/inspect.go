package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/parley-chat/parley/internal/fault"
)

// inspected is what a vendor tells of a token that somebody made by hand.
type inspected struct {
	HubID  int64    `json:"hubId"`
	UserID int64    `json:"userId"`
	Scopes []string `json:"scopes"`
}

// Inspect asks the vendor whose token it is that somebody made by hand, and what
// it may do, and notes it. Of a connection that is otherwise, or whose vendor
// does not tell, it returns what is known.
func (v *Vault) Inspect(ctx context.Context, name Name) (Connection, error) {
	s := v.Source(name)
	p, err := v.provider(s.name.Provider)
	if err != nil {
		return Connection{}, err
	}
	r, _, err := v.load(ctx, s.name)
	if err != nil {
		return Connection{}, err
	}
	if r.Client != nil || p.Inspect == "" {
		return r.view(), nil
	}
	using, t, end, err := s.Token(ctx)
	if err != nil {
		return r.view(), err
	}
	defer end()
	// A refusal is no verdict on the token: it may be of a kind that is not told of.
	told, err := v.inspect(using, p, t)
	if err != nil {
		return r.view(), err
	}
	return v.noteInspected(ctx, s.name, told)
}

// noteInspected writes down what was told, if it is news.
func (v *Vault) noteInspected(ctx context.Context, name Name, told inspected) (Connection, error) {
	slices.Sort(told.Scopes)
	r, _, err := v.change(ctx, name, func(r *record) error {
		hub, user := strconv.FormatInt(told.HubID, 10), strconv.FormatInt(told.UserID, 10)
		if r.Client != nil || slices.Equal(r.Scopes, told.Scopes) && r.Extra["hub_id"] == hub && r.Extra["user_id"] == user {
			return errKeep
		}
		r.Scopes, r.Extra = told.Scopes, map[string]string{"hub_id": hub, "user_id": user}
		return nil
	})
	if err != nil {
		return Connection{}, err
	}
	return r.view(), nil
}

func (v *Vault) inspect(ctx context.Context, p Provider, t Token) (told inspected, err error) {
	ctx, cancel := context.WithTimeout(ctx, v.o.CallTimeout)
	defer cancel()
	body, err := json.Marshal(map[string]string{"tokenKey": t.Secret.Reveal()})
	if err != nil {
		return told, fault.New(fault.InternalError, "writing the request")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.Inspect, bytes.NewReader(body))
	if err != nil {
		return told, fault.New(fault.InternalError, "making the request")
	}
	t.Authorize(request.Header)
	request.Header.Set("Content-Type", "application/json")
	response, err := v.guarded(p).Do(request)
	if err != nil {
		return told, fault.New(fault.VendorUnavailable, "%s could not be reached", p.Title)
	}
	defer func() { _ = response.Body.Close() }()
	if err := judge(p, response.StatusCode); err != nil {
		return told, err
	}
	if json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&told) != nil {
		return told, fault.New(fault.VendorAnswerInvalid, "%s did not say whose token it is", p.Title)
	}
	return told, nil
}

// judge says what the status of an answer to a token means.
func judge(p Provider, status int) error {
	switch {
	case status/100 == 2:
		return nil
	case status == http.StatusUnauthorized:
		return fault.New(fault.TokenRefused, "%s refuses the token", p.Title)
	case status == http.StatusForbidden:
		return fault.New(fault.VendorForbids, "%s takes the token, and does not allow this with it", p.Title)
	}
	return fault.New(fault.VendorUnavailable, "%s answered %d", p.Title, status)
}
