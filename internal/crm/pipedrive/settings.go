package pipedrive

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/parley-chat/parley/internal/fault"
)

// setting is one setting of a target in the configuration.
type setting func(o *Options, value string) error

func settings() map[string]setting {
	text := func(at func(o *Options) *string, valid func(string) bool, wanted string) setting {
		return func(o *Options, value string) error {
			if !valid(value) {
				return fault.New(fault.BadConfig, "%q is not %s", value, wanted)
			}
			*at(o) = value
			return nil
		}
	}
	some := func(value string) bool { return strings.TrimSpace(value) != "" && len(value) <= 100 }
	return map[string]setting{
		"activities": text(func(o *Options) *string { return (*string)(&o.Activities) },
			func(v string) bool { return slices.Contains(Kinds(), Kind(v)) }, "activity, note or none"),
		"type":    text(func(o *Options) *string { return &o.Type }, some, "the key of a type of activities, such as call"),
		"key":     text(func(o *Options) *string { return &o.Key }, some, "the name of a field of persons"),
		"seq":     text(func(o *Options) *string { return &o.Seq }, some, "the name of a field of persons"),
		"unnamed": text(func(o *Options) *string { return &o.Unnamed }, some, "a name"),
		"match": func(o *Options, value string) error {
			match, err := strconv.ParseBool(value)
			if err != nil {
				return fault.New(fault.BadConfig, "%q is not true or false", value)
			}
			o.NoMatch = !match
			return nil
		},
		"merge": func(o *Options, value string) error {
			merge, err := strconv.ParseBool(value)
			if err != nil {
				return fault.New(fault.BadConfig, "%q is not true or false", value)
			}
			o.NoMerge = !merge
			return nil
		},
		"rate": func(o *Options, value string) error {
			rate, err := strconv.ParseFloat(value, 64)
			if err != nil || !(rate > 0 && rate <= 100) {
				return fault.New(fault.BadConfig, "%q is not a number of calls per second", value)
			}
			o.Rate, o.Burst = rate, max(1, int(2*rate))
			return nil
		},
	}
}

// Settings returns the options that the settings of a target stand for. The
// error names the setting.
func Settings(of map[string]string) (Options, error) {
	var o Options
	known := settings()
	for _, name := range slices.Sorted(maps.Keys(of)) {
		set, ok := known[name]
		if !ok {
			return o, fault.New(fault.BadConfig, "Pipedrive has no setting %q", name).
				WithFix("the settings are %s", strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		if err := set(&o, of[name]); err != nil {
			return o, fault.New(fault.BadConfig, "the setting %s of Pipedrive: %s", name, err).WithFix("correct the setting: see docs/crm-pipedrive.md")
		}
	}
	return o, nil
}
