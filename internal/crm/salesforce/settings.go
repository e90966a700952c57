package salesforce

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/parley-chat/parley/internal/fault"
)

// setting is one setting of a target in the configuration.
type setting func(o *Options, value string) error

var (
	versionForm = regexp.MustCompile(`^[0-9]{2}\.0$`)
	eventForm   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,75}__e$`)
)

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
	field := func(at func(o *Options) *string) setting {
		return text(at, fieldForm.MatchString, "the API name of a field")
	}
	flag := func(set func(o *Options, on bool)) setting {
		return func(o *Options, value string) error {
			on, err := strconv.ParseBool(value)
			if err != nil {
				return fault.New(fault.BadConfig, "%q is not true or false", value)
			}
			set(o, on)
			return nil
		}
	}
	share := func(at func(o *Options) *float64, most float64, wanted string) setting {
		return func(o *Options, value string) error {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil || !(n > 0 && n <= most) {
				return fault.New(fault.BadConfig, "%q is not %s", value, wanted)
			}
			*at(o) = n
			return nil
		}
	}
	return map[string]setting{
		"object": text(func(o *Options) *string { return (*string)(&o.Object) },
			func(v string) bool { return slices.Contains(Objects(), Object(v)) }, "Contact or Lead"),
		"activities": text(func(o *Options) *string { return (*string)(&o.Activities) },
			func(v string) bool { return slices.Contains(Kinds(), Kind(v)) }, "task, event or none"),
		"event_type":       text(func(o *Options) *string { return &o.EventType }, eventForm.MatchString, "the API name of a platform event"),
		"version":          text(func(o *Options) *string { return &o.Version }, versionForm.MatchString, "a version such as 62.0"),
		"key":              field(func(o *Options) *string { return &o.Key }),
		"seq":              field(func(o *Options) *string { return &o.Seq }),
		"activity_key":     field(func(o *Options) *string { return &o.ActivityKey }),
		"case_key":         field(func(o *Options) *string { return &o.CaseKey }),
		"case_origin":      text(func(o *Options) *string { return &o.Origin }, func(v string) bool { return v != "" }, "an origin of cases"),
		"cases":            flag(func(o *Options, on bool) { o.Cases = on }),
		"match":            flag(func(o *Options, on bool) { o.NoMatch = !on }),
		"allow_duplicates": flag(func(o *Options, on bool) { o.AllowDuplicates = on }),
		"reserve":          share(func(o *Options) *float64 { return &o.Reserve }, 0.99, "a share of the calls of a day, such as 0.2"),
		"rate":             share(func(o *Options) *float64 { return &o.Rate }, 50, "a number of calls per second"),
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
			return o, fault.New(fault.BadConfig, "Salesforce has no setting %q", name).
				WithFix("the settings are %s", strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		if err := set(&o, of[name]); err != nil {
			return o, fault.New(fault.BadConfig, "the setting %s of Salesforce: %s", name, err).WithFix("correct the setting: see docs/crm-salesforce.md")
		}
	}
	o.Burst = max(1, int(2*o.Rate))
	if o.Activities == Event && o.EventType == "" {
		return o, fault.New(fault.BadConfig, "activities: event needs the setting event_type").WithFix("name a platform event of the org")
	}
	return o, nil
}
