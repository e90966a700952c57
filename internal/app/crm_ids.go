package app

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/crm/pipedrive"
	"github.com/parley-chat/parley/internal/fault"
)

// crmIDs keeps on the bus which record of a CRM is which of ours.
type crmIDs struct {
	kv     *bus.KV
	target string
}

// openCRMIDs opens what is kept of a target.
func openCRMIDs(ctx context.Context, b *bus.Bus, target string) (crmIDs, error) {
	kv, err := b.KV(ctx, bus.BucketIdentities)
	if err != nil {
		return crmIDs{}, fmt.Errorf("opening the ids of the CRM: %w", err)
	}
	return crmIDs{kv, target}, nil
}

// at is the key of an entry. A site's links have two parts, these have three.
func (s crmIDs) at(key string) string { return "crm." + s.target + "." + key }

// Get implements pipedrive.IDs.
func (s crmIDs) Get(ctx context.Context, key string) (pipedrive.Entry, error) {
	var e pipedrive.Entry
	stored, there, err := s.kv.Get(ctx, s.at(key))
	if err != nil || !there {
		return e, err //nolint:wrapcheck // It says all.
	}
	if err := json.Unmarshal(stored.Value, &e); err != nil {
		return e, fault.New(fault.InternalError, "reading the entry of %s: %s", key, err)
	}
	e.Revision = stored.Revision
	return e, nil
}

// Put implements pipedrive.IDs.
func (s crmIDs) Put(ctx context.Context, key string, e pipedrive.Entry) (pipedrive.Entry, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return e, fault.New(fault.InternalError, "writing the entry of %s: %s", key, err)
	}
	if e.Revision == 0 {
		e.Revision, err = s.kv.Create(ctx, s.at(key), data, 0)
	} else {
		e.Revision, err = s.kv.Update(ctx, s.at(key), data, e.Revision)
	}
	return e, err //nolint:wrapcheck // It says all.
}
