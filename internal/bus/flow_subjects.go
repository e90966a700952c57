package bus

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Subjects returns the subjects of FLOW that fit the filter and have a message,
// as the leader knows them at some moment after the call. When there are more
// than it tells at once, about 100,000, it returns what it told, and false.
func (b *Bus) Subjects(ctx context.Context, filter string) (subjects []string, all bool, err error) {
	ask, err := json.Marshal(map[string]string{"subjects_filter": filter})
	if err != nil {
		return nil, false, fmt.Errorf("asking for the subjects %s: %w", filter, err)
	}
	var told subjectsTold
	err = b.repeat(ctx, "$JS.API.", nil, func(ctx context.Context) error {
		told = subjectsTold{}
		answer, err := b.conn.RequestWithContext(ctx, "$JS.API.STREAM.INFO."+StreamFlow, ask)
		if err != nil {
			return err
		}
		return told.read(answer)
	})
	if err != nil {
		return nil, false, fmt.Errorf("asking for the subjects %s: %w", filter, classify(err))
	}
	subjects = make([]string, 0, len(told.State.Subjects))
	for subject := range told.State.Subjects {
		subjects = append(subjects, subject)
	}
	return subjects, told.Total <= len(subjects), nil
}

// subjectsTold is what the server answers, as far as it is of interest.
type subjectsTold struct {
	Total int                 `json:"total"`
	Error *jetstream.APIError `json:"error"`
	State struct {
		Subjects map[string]uint64 `json:"subjects"`
	} `json:"state"`
}

func (t *subjectsTold) read(answer *nats.Msg) error {
	if err := json.Unmarshal(answer.Data, t); err != nil {
		return err //nolint:wrapcheck // The caller says what was asked.
	}
	if t.Error != nil {
		return t.Error
	}
	return nil
}
