package app

import (
	"io/fs"
	"time"
)

// Config is parley.yaml. The doc tags are the text of docs/config.md, and env
// is derived: bus.url is overridden by PARLEY_BUS_URL.
type Config struct {
	Bus       BusConfig             `yaml:"bus"       doc:"the event bus, NATS"`
	Browser   BrowserConfig         `yaml:"browser"   doc:"the headless browsers"`
	Worker    WorkerConfig          `yaml:"worker"    doc:"the worker"`
	Sessions  SessionsConfig        `yaml:"sessions"  doc:"what is kept of sessions without a page"`
	Workflows WorkflowsConfig       `yaml:"workflows" doc:"the rules that turn triggers into commands"`
	Ingest    IngestConfig          `yaml:"ingest"    doc:"the edge: how events come in over HTTP; see ingest.md"`
	CRM       CRMConfig             `yaml:"crm"       doc:"where chat sessions are brought; see crm.md"`
	Gateway   GatewayConfig         `yaml:"gateway"   doc:"where visitors' pages connect; see visitor.md"`
	Vault     VaultConfig           `yaml:"vault"     doc:"the connections to vendors"`
	Telemetry TelemetryConfig       `yaml:"telemetry" doc:"logs, metrics and health"`
	Sites     map[string]SiteConfig `yaml:"sites"     doc:"the websites, by name; the name is lower-case letters, digits and -"`

	// File is the file that the configuration came from, or "" for the built-in
	// one. Warnings are things that are odd and not wrong.
	File     string   `yaml:"-"`
	Warnings []string `yaml:"-"`
	dir      string   // what relative paths are relative to
	rules    fs.FS    // the built-in rules, in place of workflows
}

// BusConfig says where NATS is and how it stores.
type BusConfig struct {
	URL         string `yaml:"url"         doc:"the NATS server or cluster, such as nats://127.0.0.1:4222; empty means a server inside the worker"`
	Credentials Secret `yaml:"credentials" doc:"the NATS credentials file, as file:/path, or env:NAME of a variable with its path"`
	CA          string `yaml:"ca"          doc:"a file with the certificates that an outside server's is checked against; empty means the system's"`
	Dir         string `yaml:"dir"         doc:"where the embedded server stores its streams" default:".parley/nats"`
	Listen      string `yaml:"listen"      doc:"host:port where the embedded server can be reached; it asks for no password, so keep it on loopback" default:"127.0.0.1:4222"`
	Durability  string `yaml:"durability"  doc:"interval syncs to disk every second; always syncs before each confirmation, and is up to 15 times slower on one server" default:"interval" oneof:"interval,always"`
	Replicas    int    `yaml:"replicas"    doc:"copies of each stream; 3 in a cluster" default:"1" min:"1" max:"5"`
}

// BrowserConfig says how many browsers and tabs there are.
type BrowserConfig struct {
	Binary      string        `yaml:"binary"       doc:"the path of Chromium; empty means that it is looked for, headless shell first"`
	Dir         string        `yaml:"dir"          doc:"where the browsers keep their throw-away profiles; empty means the system's temporary directory"`
	Processes   int           `yaml:"processes"    doc:"browser processes of each kind" default:"1" min:"1" max:"64"`
	Tabs        int           `yaml:"tabs"         doc:"sessions whose page is held open, in all processes together" default:"100" min:"1" max:"10000"`
	Spare       int           `yaml:"spare"        doc:"tabs that each browser keeps ready, so that a new session starts at once" default:"2" min:"0" max:"100"`
	Idle        time.Duration `yaml:"idle"         doc:"a session that is not used for so long is stored, and closes its page" default:"10m" min:"1s" max:"24h"`
	Memory      Size          `yaml:"memory"       doc:"what all browsers together may use; above it, sessions that are idle give their page up; empty means no limit"`
	MaxMemory   Size          `yaml:"max_memory"   doc:"a browser that uses more is replaced, and its sessions move to another one; empty means no limit"`
	MaxAge      time.Duration `yaml:"max_age"      doc:"a browser that has run for so long is replaced" default:"12h" min:"1m" max:"720h"`
	Fresh       bool          `yaml:"fresh"        doc:"start every session in a browser context that nobody has used; without it, the context of a light page is cleaned after its session, proved empty, and used again for the same site"`
	LoadTimeout time.Duration `yaml:"load_timeout" doc:"how long a page may take to load" default:"30s" min:"1s" max:"2m"`
}

// WorkerConfig says what a worker does.
type WorkerConfig struct {
	Name    string        `yaml:"name"    doc:"the worker's name in results, logs and commands; no two workers of a bus may have the same; empty means the host's name and the process's number"`
	Roles   []string      `yaml:"roles"   doc:"what this worker does: actions, workflows, ingest, crm, gateway; empty means all"`
	Actions []string      `yaml:"actions" doc:"the actions that this worker takes, such as botstar.widget.*; empty means all"`
	Lanes   int           `yaml:"lanes"   doc:"sessions that are worked on at the same time" default:"16" min:"1" max:"1000"`
	Grace   time.Duration `yaml:"grace"   doc:"how long running actions may go on after the worker was told to stop" default:"20s" min:"1s" max:"10m"`
	// The vendor does not publish a limit; what it answers counts in any case.
	RESTRate  int `yaml:"rest_rate"  doc:"calls a second to a vendor's REST API with one token, of this worker; sites that share the token take turns; 0 sets no limit of ours, and a 429 holds all calls with the token back in any case" default:"0" min:"0" max:"10000"`
	RESTBurst int `yaml:"rest_burst" doc:"how many of them may go at once; 0 is a second's worth" default:"0" min:"0" max:"10000"`
}

// SessionsConfig says what is kept of sessions without a page.
type SessionsConfig struct {
	Key  Secret        `yaml:"key"  doc:"the key file that seals what is stored, the same for all workers of a bus, as file:/path, or env:NAME of a variable with its path; empty means a file beside the streams of the embedded server, made when it is missing, and with an outside server that nothing is stored"`
	Keep time.Duration `yaml:"keep" doc:"how long a session that is not used stays stored" default:"168h" min:"1m" max:"8760h"`
}

// WorkflowsConfig says where the rules are.
type WorkflowsConfig struct {
	Dir   string   `yaml:"dir"   doc:"a directory whose *.yaml and *.yml files are rules; relative to parley.yaml"`
	Files []string `yaml:"files" doc:"further rule files, or patterns of them; relative to parley.yaml"`
	// Private is for trials, and for receivers in a network of one's own.
	Private bool `yaml:"private" doc:"let http steps reach private addresses and this machine"`
}

// IngestConfig says where events come in, and from whom.
type IngestConfig struct {
	Listen      string                  `yaml:"listen"      doc:"host:port where events come in; empty means none"`
	MaxBody     Size                    `yaml:"max_body"    doc:"the most that the body of a request may have, before and after unpacking" default:"1MiB"`
	Memory      Size                    `yaml:"memory"      doc:"what all bodies under way may use; above it senders are told to come again" default:"128MiB"`
	Connections int                     `yaml:"connections" doc:"connections that may be open; one that waits gives way to a new one" default:"8192" min:"16" max:"1000000"`
	Requests    int                     `yaml:"requests"    doc:"requests that are worked on at the same time; half of them are kept for the sources, in equal parts" default:"1024" min:"1" max:"100000"`
	Grace       time.Duration           `yaml:"grace"       doc:"how long requests may go on after the edge was told to stop" default:"20s" min:"1s" max:"10m"`
	Remember    time.Duration           `yaml:"remember"    doc:"how long it is known which visitor an anonymous id or an address belongs to, after it was used last" default:"9480h" min:"1h" max:"43800h"`
	Maintenance bool                    `yaml:"maintenance" doc:"answer every event with 503 and Retry-After"`
	Sources     map[string]SourceConfig `yaml:"sources"     doc:"the senders, by name; the name is lower-case letters, digits and -"`
}

// SourceConfig is one sender of events.
type SourceConfig struct {
	Type    string            `yaml:"type"     doc:"the kind of sender; required" oneof:"@sources"`
	Site    string            `yaml:"site"     doc:"the site of all its events; empty means the site of the page where an event happened"`
	Path    string            `yaml:"path"     doc:"its address; / for a client that can be given a host only; empty means /in/ and the name"`
	Secrets []Secret          `yaml:"secrets"  doc:"what it signs with, or its write keys, as file:/path or env:NAME of a variable with the path; two while they are being changed"`
	Token   []Secret          `yaml:"token"    doc:"the secret that proves it where no signature does, or does not cover everything; two while it is being changed"`
	TokenIn string            `yaml:"token_in" doc:"where the token is: path (after its address), bearer, basic, header:NAME or query:NAME; empty means path, bearer or query:access_token"`
	Open    bool              `yaml:"open"     doc:"take events that nothing proves"`
	Quota   string            `yaml:"quota"    doc:"how many events it may send, such as 100/s or 6000/m; empty means no limit"`
	Origins []string          `yaml:"origins"  doc:"web pages that may send from a browser, such as https://shop.example.com"`
	Mapping map[string]string `yaml:"mapping"  doc:"where the fields of an event are, for plain and cloudevents: /user/id, user.id, . for the whole event, or =text; of ga4 max_value: 500 for Analytics 360, and of botstar environment: live or test"`
}

// TelemetryConfig says how the process tells what it does.
type TelemetryConfig struct {
	Listen string `yaml:"listen" doc:"host:port of /metrics and /healthz; empty means none"`
	Level  string `yaml:"level"  doc:"how much is logged" default:"info" oneof:"debug,info,warn,error"`
	Format string `yaml:"format" doc:"auto is colour on a terminal and JSON elsewhere" default:"auto" oneof:"auto,text,json"`
}

// SiteConfig is a customer's website in one environment.
type SiteConfig struct {
	Provider  string         `yaml:"provider"  doc:"the chat vendor" default:"botstar"`
	AppID     string         `yaml:"app_id"    doc:"the vendor's public id of the bot on this site; required"`
	BotID     string         `yaml:"bot_id"    doc:"the vendor's id of the bot, for its REST API and botstar.app.list_ids"`
	BotName   string         `yaml:"bot_name"  doc:"the bot's name, for botstar.app.list_ids"`
	Domains   []string       `yaml:"domains"   doc:"host names, each with a path where the site is only a part of the host: shop.example.com/de; the longest match wins; required"`
	URL       string         `yaml:"url"       doc:"the page that a headless session shows; https:// and the first domain when empty"`
	Mode      string         `yaml:"mode"      doc:"the widget's mode on this site" default:"livechat"`
	Page      string         `yaml:"page"      doc:"light serves a minimal page at the site's address, three times cheaper; full loads the real one" default:"light" oneof:"light,full"`
	Webviews  []string       `yaml:"webviews"  doc:"origins whose pages may be opened as webviews, such as https://shop.example.com"`
	Variables map[string]any `yaml:"variables" doc:"bot variables given to every boot; texts and numbers"`
	Block     string         `yaml:"block"     doc:"the bot's block that every conversation begins with"`
	// Disclosure is a promise that workflows can require.
	Disclosure bool     `yaml:"disclosure" doc:"the widget tells visitors that a machine answers; workflows with requires: [disclosure] run only then"`
	REST       SiteREST `yaml:"rest"      doc:"how the vendor's REST API is reached"`
	// Visitor is nothing to a site whose pages carry no snippet.
	Visitor SiteVisitor `yaml:"visitor" doc:"how the site's visitors are reached in their own tabs"`

	TakeoverIdle    time.Duration `yaml:"takeover_idle"    doc:"the setting of the bot's takeover block, after how long without a message it hands a conversation back; 0 is not known" default:"0s" min:"0s" max:"8760h"`
	TakeoverSession time.Duration `yaml:"takeover_session" doc:"the vendor's setting after how long a takeover expires; 0 is not known" default:"0s" min:"0s" max:"8760h"`
}

// Size is a number of bytes as people write it, such as "512MiB" or "2GiB". ""
// is none.
type Size string

// Secret names a place where a secret lies: "env:NAME" or "file:/path". The
// secret itself never stands in the configuration.
type Secret string
