package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/workflow"
)

// ConfigFile is where the configuration is looked for when nobody names a file.
const ConfigFile = "parley.yaml"

// envPrefix begins the name of every variable that overrides a key.
const envPrefix = "PARLEY_"

// Env is the environment of the process.
type Env map[string]string

// EnvOf reads an environment of the form of os.Environ.
func EnvOf(environ []string) Env {
	env := Env{}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	return env
}

// LoadConfig reads the file, applies the environment, and checks everything. An
// error holds all problems, each with its line. An empty file name means no
// file: the defaults and no sites.
func LoadConfig(file string, env Env, catalog *actions.Catalog) (*Config, error) {
	if file == "" {
		return parseConfig("", nil, env, catalog)
	}
	text, err := os.ReadFile(file) //nolint:gosec // the operator names the file.
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.BadConfig, "there is no file %s", file).
			WithFix("name the configuration with --config or %sCONFIG; parley.yaml in the repository is an example", envPrefix)
	}
	if err != nil {
		return nil, fault.New(fault.BadConfig, "reading the configuration").Because(err)
	}
	c, err := parseConfig(file, text, env, catalog)
	if err != nil {
		return nil, err
	}
	c.dir = filepath.Dir(file)
	return c, nil
}

// parseConfig is LoadConfig on a text.
func parseConfig(file string, text []byte, env Env, catalog *actions.Catalog) (*Config, error) {
	c := &Config{File: file, Sites: map[string]SiteConfig{}}
	_ = eachKey(reflect.ValueOf(c).Elem(), "", func(k key) error { return k.set(k.field.Tag.Get("default")) })
	source, err := workflow.Read(file, text, fault.BadConfig, c)
	if err != nil {
		return nil, err
	}
	for name, site := range c.Sites {
		site.fill()
		c.Sites[name] = site
	}
	for name, from := range c.Ingest.Sources {
		if from.Path == "" {
			from.Path = "/in/" + name
		}
		c.Ingest.Sources[name] = from
	}
	for name, target := range c.CRM.Targets {
		fillTarget(&target)
		c.CRM.Targets[name] = target
	}
	overridden, err := c.override(env)
	if err != nil {
		return nil, err
	}
	v := validator{source: source, catalog: catalog, overridden: overridden}
	v.config(c)
	return c, source.Fail(v.problems...)
}

// fill sets the defaults of a site.
func (s *SiteConfig) fill() {
	_ = eachKey(reflect.ValueOf(s).Elem(), "", func(k key) error {
		if !k.value.IsZero() {
			return nil
		}
		return k.set(k.field.Tag.Get("default"))
	})
	if s.URL != "" || len(s.Domains) == 0 {
		return
	}
	if isDomain(s.Domains[0]) {
		s.URL = "https://" + strings.TrimSuffix(s.Domains[0], "/") + "/"
	}
}

// key is one scalar or list of the configuration.
type key struct {
	path  string // such as "bus.url"
	field reflect.StructField
	value reflect.Value
}

// eachKey visits the keys of a struct and of the structs in it, in their order.
// It does not go into maps, such as that of the sites.
func eachKey(of reflect.Value, path string, visit func(key) error) error {
	for i := range of.NumField() {
		field := of.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if name == "" || name == "-" || field.Type.Kind() == reflect.Map {
			continue
		}
		at := strings.TrimPrefix(path+"."+name, ".")
		var err error
		if field.Type.Kind() == reflect.Struct {
			err = eachKey(of.Field(i), at, visit)
		} else {
			err = visit(key{at, field, of.Field(i)})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// env returns the variable that overrides the key.
func (k key) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(k.path, ".", "_"))
}

// set sets the key from text. An empty text changes nothing.
func (k key) set(text string) error {
	if text == "" {
		return nil
	}
	switch k.value.Interface().(type) {
	case time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 10s", text)
		}
		k.value.SetInt(int64(d))
	case int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		k.value.SetInt(int64(n))
	case bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		k.value.SetBool(b)
	case []string:
		k.value.Set(reflect.ValueOf(strings.Split(text, ",")))
	default:
		k.value.SetString(text)
	}
	return nil
}

// override applies the environment, and returns the keys that it changed. A variable that names no key is a warning,
// because others may set it: Kubernetes does for a service of that name.
func (c *Config) override(env Env) (map[string]string, error) {
	known, changed := []string{envPrefix + "CONFIG"}, map[string]string{}
	err := eachKey(reflect.ValueOf(c).Elem(), "", func(k key) error {
		known = append(known, k.env())
		if env[k.env()] != "" {
			changed[k.path] = k.env()
		}
		if err := k.set(env[k.env()]); err != nil {
			return fault.New(fault.BadConfig, "the environment variable %s: %s", k.env(), err).
				WithFix("correct or unset it; it overrides %s", k.path)
		}
		return nil
	})
	var odd []string
	for name := range env {
		if strings.HasPrefix(name, envPrefix) && !slices.Contains(known, name) {
			odd = append(odd, name)
		}
	}
	slices.Sort(odd)
	for _, name := range odd {
		warning := "the environment variable " + name + " overrides no key"
		if near := fault.Nearest(name, known); near != "" {
			warning += "; did you mean " + near + "?"
		}
		c.Warnings = append(c.Warnings, warning)
	}
	return changed, err
}

// Locate returns the name of the configuration file: the one that was named, or
// parley.yaml if it is there, or "".
func Locate(named string) string {
	if named != "" {
		return named
	}
	if _, err := os.Stat(ConfigFile); err == nil {
		return ConfigFile
	}
	return ""
}

// Path returns the path, which the configuration gives relative to its file.
func (c *Config) Path(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(c.dir, path)
}
