package hubspot

import (
	"context"
	"net/http"
	"slices"

	"github.com/parley-chat/parley/internal/fault"
)

// told is what a batch says of one record.
type told struct {
	// object is the record, when it was written.
	object *object
	// err says why not, and problem what HubSpot said.
	err     *fault.Error
	problem *problem
}

// write sends the inputs as one batch, and returns what is known of each by its
// trace. An input that is not there was not spoken of. The error says that
// nothing is known of any.
func (c *Connector) write(ctx context.Context, kind, verb string, inputs []input) (map[string]told, error) {
	if len(inputs) == 0 {
		return map[string]told{}, nil
	}
	name := kind + "/batch/" + verb
	var got answer
	var whole problem
	err := c.do(ctx, call{
		method: http.MethodPost, path: c.objects(kind, "/batch/"+verb), name: name, write: true,
		in: map[string]any{"inputs": inputs}, out: &got, told: &whole,
	})
	if err != nil {
		if e := fault.From(err); len(inputs) == 1 && refusal(e.Reason) {
			one := whole.ofRecord(name)
			if one.Reason == fault.VendorRejects {
				one.Reason, one.Code, one.Fix = e.Reason, e.Code, e.Fix
			}
			return map[string]told{inputs[0].Trace: {err: one, problem: &whole}}, nil
		}
		return nil, err
	}
	if len(got.Results) == 0 && len(got.Errors) == 0 {
		// It happens, and means that nothing was done, or that nobody knows.
		return nil, fault.New(fault.EffectUnknown, "HubSpot answers %s with success and nothing else", name).WithAfter(afterFailure)
	}
	return join(name, inputs, got), nil
}

// refusal reports whether the reason is about what was sent.
func refusal(reason fault.Reason) bool {
	return reason == fault.VendorRejects || reason == fault.VendorConflict || reason == fault.VendorNotFound
}

// join finds for each result and each error the input that it is about: by the
// trace, else by the id. Places mean nothing.
func join(name string, inputs []input, got answer) map[string]told {
	byID, byTrace := map[string]string{}, map[string]bool{}
	for _, in := range inputs {
		byID[in.ID], byTrace[in.Trace] = in.Trace, true
	}
	all := map[string]told{}
	for i := range got.Results {
		o := &got.Results[i]
		trace := o.Trace
		if !byTrace[trace] {
			trace = byID[o.ID]
		}
		for _, in := range inputs {
			if trace == "" && in.IDProperty != "" && o.get(in.IDProperty) == in.ID {
				trace = in.Trace
			}
		}
		if trace != "" {
			all[trace] = told{object: o}
		}
	}
	var loose []*problem
	for i := range got.Errors {
		p := &got.Errors[i]
		found := false
		for _, id := range slices.Concat(p.Context["objectWriteTraceId"], p.Context["ids"], p.Context["id"]) {
			trace := id
			if !byTrace[trace] {
				trace = byID[id]
			}
			if trace != "" {
				all[trace], found = told{err: p.ofRecord(name), problem: p}, true
			}
		}
		if !found {
			loose = append(loose, p)
		}
	}
	// One error about nobody and one record that nothing was said of belong
	// together.
	if len(loose) == 1 && len(all) == len(inputs)-1 {
		for _, in := range inputs {
			if _, known := all[in.Trace]; !known {
				all[in.Trace] = told{err: loose[0].ofRecord(name), problem: loose[0]}
			}
		}
	}
	return all
}

// read returns the contacts that exist, found by their ids, or by a
// unique property. It is no search: what was written is there at once.
func (c *Connector) read(ctx context.Context, idProperty string, ids []string, properties ...string) ([]object, error) {
	return c.readHistory(ctx, idProperty, ids, properties, nil)
}

func (c *Connector) readHistory(ctx context.Context, idProperty string, ids, properties, history []string) ([]object, error) {
	var all []object
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	most := maxBatch
	if len(history) > 0 {
		most = page
	}
	for part := range slices.Chunk(ids, most) {
		in := map[string]any{"properties": properties, "propertiesWithHistory": orEmpty(history)}
		inputs := make([]input, len(part))
		for i, id := range part {
			inputs[i] = input{ID: id}
		}
		in["inputs"] = inputs
		if idProperty != "" {
			in["idProperty"] = idProperty
		}
		var got answer
		err := c.do(ctx, call{
			method: http.MethodPost, path: c.objects(contacts, "/batch/read"), name: "contacts/batch/read", in: in, out: &got,
		})
		if err != nil {
			return nil, err
		}
		// What does not exist is an error of a record. Any other one means that not
		// all is known.
		for i := range got.Errors {
			if p := &got.Errors[i]; p.ofRecord("").Reason != fault.VendorNotFound {
				return nil, fault.New(fault.VendorUnavailable, "HubSpot reads only some contacts: %s", p.said()).WithAfter(afterFailure)
			}
		}
		all = append(all, got.Results...)
	}
	return all, nil
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
