package hubspot

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/parley-chat/parley/internal/crm"
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
	property := func(at func(o *Options) *string) setting {
		return text(at, propertyForm.MatchString, "the internal name of a property")
	}
	some := func(value string) bool { return value != "" }
	return map[string]setting{
		"activities": text(func(o *Options) *string { return (*string)(&o.Activities) },
			func(value string) bool { return slices.Contains(Kinds(), Kind(value)) }, "note, communication, event or none"),
		"channel":      text(func(o *Options) *string { return &o.Channel }, codeForm.MatchString, "a type of channel such as CUSTOM_CHANNEL_CONVERSATION"),
		"event_type":   text(func(o *Options) *string { return &o.EventType }, some, "the name of a type of events"),
		"key":          property(func(o *Options) *string { return &o.Key }),
		"seq":          property(func(o *Options) *string { return &o.Seq }),
		"activity_key": property(func(o *Options) *string { return &o.ActivityKey }),
		"app":          text(func(o *Options) *string { return &o.App }, some, "the id of an app"),
		"version":      text(func(o *Options) *string { return &o.Version }, isVersion, "a version such as 2026-03"),
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
			if err != nil || rate <= 0 || rate > 100 {
				return fault.New(fault.BadConfig, "%q is not a number of calls per second", value)
			}
			o.Rate, o.Burst = rate, max(1, int(4*rate))
			return nil
		},
	}
}

func isVersion(value string) bool {
	year, month, dated := strings.Cut(value, "-")
	_, errYear := strconv.Atoi(year)
	_, errMonth := strconv.Atoi(month)
	return dated && len(year) == 4 && len(month) == 2 && errYear == nil && errMonth == nil
}

// Settings returns the options that the settings of a target stand for. The
// error names the setting.
func Settings(of map[string]string) (Options, error) {
	var o Options
	known := settings()
	for _, name := range slices.Sorted(maps.Keys(of)) {
		set, ok := known[name]
		if !ok {
			return o, fault.New(fault.BadConfig, "HubSpot has no setting %q", name).
				WithFix("the settings are %s", strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		if err := set(&o, of[name]); err != nil {
			return o, fault.New(fault.BadConfig, "the setting %s of HubSpot: %s", name, err).WithFix("correct the setting: see docs/crm-hubspot.md")
		}
	}
	if o.Activities == Event && o.EventType == "" {
		return o, fault.New(fault.BadConfig, "activities: event needs the setting event_type").WithFix("name a type of events that your app defines")
	}
	return o, nil
}

// Mapping implements crm.Mapper, with what every account has.
func (c *Connector) Mapping() crm.Mapping {
	return crm.Mapping{Contact: map[string]crm.FieldMapping{
		"email":     {Value: "${visitor.email}"},
		"firstname": {Value: "${has(traits.first_name) ? traits.first_name : traits.firstName}"},
		"lastname":  {Value: "${has(traits.last_name) ? traits.last_name : traits.lastName}"},
		"phone":     {Value: "${traits.phone}"},
	}}
}
