package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/fault"
)

// ensureStream makes the stream, or updates it in place.
func (b *Bus) ensureStream(ctx context.Context, want jetstream.StreamConfig) error {
	return b.repeat(ctx, "$JS.API.STREAM.", nil, func(ctx context.Context) error {
		for {
			err := b.tryStream(ctx, want)
			if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
				return err
			}
			// Another process made it in between: look at what it made.
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	})
}

func (b *Bus) tryStream(ctx context.Context, want jetstream.StreamConfig) error {
	stream, err := b.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if _, err = b.js.CreateStream(ctx, want); err != nil {
			return fmt.Errorf("making the stream %s: %w", want.Name, misconfigured(err))
		}
		b.log.LogAttrs(ctx, slog.LevelDebug, "stream made", slog.String("stream", want.Name))
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking at the stream %s: %w", want.Name, err)
	}
	next, changed, err := migrate(stream.CachedInfo().Config, want)
	if err != nil {
		return err
	}
	if len(changed) == 0 {
		return nil
	}
	if _, err := b.js.UpdateStream(ctx, next); err != nil {
		return fmt.Errorf("updating %v of the stream %s: %w", changed, want.Name, misconfigured(err))
	}
	b.log.LogAttrs(ctx, slog.LevelInfo, "stream updated", slog.String("stream", want.Name), slog.Any("settings", changed))
	return nil
}

// misconfigured keeps the one error that the caller looks for, and classifies
// the others.
func misconfigured(err error) error {
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return err
	}
	return classify(err)
}

// migrate returns the configuration that brings have to want, and the settings
// that change. It starts from have, so what Parley does not set stays as the
// operator made it.
//
// A setting falls into one of three classes. What would lose or strand data is
// refused. A limit is raised, and never lowered: the operator's larger one
// stays. The rest is set.
func migrate(have, want jetstream.StreamConfig) (next jetstream.StreamConfig, changed []string, err error) {
	if err := refuse(have, want); err != nil {
		return have, nil, err
	}
	next = have
	m := migration{stream: want.Name}
	raise(&m, "max_msgs", &next.MaxMsgs, want.MaxMsgs)
	raise(&m, "max_bytes", &next.MaxBytes, want.MaxBytes)
	raise(&m, "max_age", &next.MaxAge, want.MaxAge)
	raise(&m, "max_msg_size", &next.MaxMsgSize, want.MaxMsgSize)
	raise(&m, "max_consumers", &next.MaxConsumers, want.MaxConsumers)
	set(&m, "num_replicas", &next.Replicas, want.Replicas)
	set(&m, "max_msgs_per_subject", &next.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
	set(&m, "description", &next.Description, want.Description)
	set(&m, "discard", &next.Discard, want.Discard)
	set(&m, "discard_new_per_subject", &next.DiscardNewPerSubject, want.DiscardNewPerSubject)
	set(&m, "duplicate_window", &next.Duplicates, want.Duplicates)
	set(&m, "allow_direct", &next.AllowDirect, want.AllowDirect)
	set(&m, "allow_rollup_hdrs", &next.AllowRollup, want.AllowRollup || have.AllowRollup)
	set(&m, "allow_msg_ttl", &next.AllowMsgTTL, want.AllowMsgTTL || have.AllowMsgTTL)
	set(&m, "allow_msg_schedules", &next.AllowMsgSchedules, want.AllowMsgSchedules || have.AllowMsgSchedules)
	set(&m, "allow_atomic", &next.AllowAtomicPublish, want.AllowAtomicPublish || have.AllowAtomicPublish)
	set(&m, "deny_delete", &next.DenyDelete, want.DenyDelete || have.DenyDelete)
	set(&m, "deny_purge", &next.DenyPurge, want.DenyPurge || have.DenyPurge)
	set(&m, "subject_delete_marker_ttl", &next.SubjectDeleteMarkerTTL, want.SubjectDeleteMarkerTTL)
	if !sameSet(have.Subjects, want.Subjects) {
		next.Subjects = want.Subjects
		m.changed = append(m.changed, "subjects")
	}
	if len(have.Sources) == 0 && len(want.Sources) > 0 {
		next.Sources = want.Sources
		m.changed = append(m.changed, "sources")
	}
	return next, m.changed, nil
}

// migration collects the settings that change.
type migration struct {
	stream  string
	changed []string
}

func set[T comparable](m *migration, name string, at *T, want T) {
	if *at != want {
		*at = want
		m.changed = append(m.changed, name)
	}
}

// raise sets a limit that is larger than the present one. A limit that is not
// positive means that there is none.
func raise[T ~int | ~int32 | ~int64](m *migration, name string, at *T, want T) {
	if *at > 0 && (want <= 0 || want > *at) {
		set(m, name, at, want)
	}
}

// refuse names the first difference that Parley may not remove.
func refuse(have, want jetstream.StreamConfig) error {
	no := func(setting string, is, should any, why string) *fault.Error {
		return fault.New(fault.BusMisconfigured, "the stream %s has %s %v, and must have %v: %s", want.Name, setting, is, should, why).
			WithFix("move the stream's messages away, or use another NATS account; Parley never deletes a stream")
	}
	switch {
	case have.Retention != want.Retention:
		return no("retention", have.Retention, want.Retention, "another retention would delete messages")
	case have.Storage != want.Storage:
		return no("storage", have.Storage, want.Storage, "the storage of a stream cannot change")
	case !reflect.DeepEqual(have.SubjectTransform, want.SubjectTransform):
		return no("subject_transform", transformText(have.SubjectTransform), transformText(want.SubjectTransform),
			"waiting commands of a session would be split over two partitions")
	case have.Mirror != nil:
		return no("mirror", have.Mirror.Name, "none", "a copy takes no messages")
	case have.Sealed:
		return no("sealed", true, false, "it takes no messages")
	case len(have.Sources) > 0 && !sameSources(have.Sources, want.Sources):
		return no("sources", sourceText(have.Sources), sourceText(want.Sources), "messages could be taken over twice, or not at all")
	case len(missing(have.Subjects, want.Subjects)) > 0:
		return no("subjects", missing(have.Subjects, want.Subjects), "none of these", "whoever publishes them would lose the stream")
	case lowers(have.MaxMsgsPerSubject, want.MaxMsgsPerSubject):
		return no("max_msgs_per_subject", have.MaxMsgsPerSubject, want.MaxMsgsPerSubject, "a lower one would delete messages")
	case have.Replicas > want.Replicas:
		return no("num_replicas", have.Replicas, want.Replicas, "fewer copies are less safe").
			WithFix("set `nats.replicas` to %d", have.Replicas)
	}
	return nil
}

// lowers reports whether the new limit is below the present one.
func lowers(have, want int64) bool { return want > 0 && (have <= 0 || want < have) }

// missing returns what have has and want has not.
func missing(have, want []string) []string {
	return slices.DeleteFunc(slices.Clone(have), func(s string) bool { return slices.Contains(want, s) })
}

func sameSet(a, b []string) bool { return len(missing(a, b)) == 0 && len(missing(b, a)) == 0 }

// sameSources compares names and transforms, in any order.
func sameSources(a, b []*jetstream.StreamSource) bool {
	return slices.Equal(sourceText(a), sourceText(b))
}

func sourceText(sources []*jetstream.StreamSource) []string {
	var text []string
	for _, source := range sources {
		for _, transform := range source.SubjectTransforms {
			text = append(text, source.Name+": "+transformText(&transform))
		}
		if len(source.SubjectTransforms) == 0 {
			text = append(text, source.Name+": "+source.FilterSubject)
		}
	}
	slices.Sort(text)
	return text
}

func transformText(t *jetstream.SubjectTransformConfig) string {
	if t == nil {
		return "none"
	}
	return t.Source + " to " + t.Destination
}
