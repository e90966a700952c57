package telemetry

import (
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the figures of one process. Their names are a contract.
type Metrics struct {
	registry *prometheus.Registry
	commands *prometheus.CounterVec
	duration *prometheus.HistogramVec
	triggers *prometheus.CounterVec
	facts    *prometheus.CounterVec
	stale    *prometheus.CounterVec
	size     *prometheus.HistogramVec
	took     *prometheus.HistogramVec

	ingested *prometheus.CounterVec
	refused  *prometheus.CounterVec
	answered *prometheus.HistogramVec
}

// NewMetrics returns metrics in a registry of their own, with those of the Go
// runtime and of the process.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_commands_total", Help: "Commands that were settled, by action and status of their result.",
		}, []string{"action", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "parley_command_duration_seconds", Help: "Time from the start of a command's work to its result.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"action"}),
		triggers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_triggers_total", Help: "Triggers that the rules looked at, by outcome: matched, ignored or failed.",
		}, []string{"outcome"}),
		facts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_facts_total", Help: "Facts that were published, by name.",
		}, []string{"fact"}),
		stale: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_stale_writes_refused_total",
			Help: "Writes of a former owner that were refused, by who refused: lease, record, page or snapshot.",
		}, []string{"by"}),
		size: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "parley_snapshot_bytes", Help: "Sizes of sealed snapshots of sessions, by what was done: save or load.",
			Buckets: prometheus.ExponentialBuckets(1<<10, 2, 10),
		}, []string{"op"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "parley_snapshot_duration_seconds", Help: "Time to save or load the snapshot of a session.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}, []string{"op"}),
		ingested: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_ingest_events_total", Help: "Events that came in, by source and outcome: accepted, duplicate, conflict or rejected.",
		}, []string{"source", "outcome"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_ingest_refused_total", Help: "Requests that were refused and events that were rejected, by source and reason; quota_exhausted is the source's quota.",
		}, []string{"source", "reason"}),
		answered: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "parley_ingest_request_duration_seconds", Help: "Time to take and answer a request of a source, by status.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"source", "status"}),
	}
	for _, by := range []string{"lease", "record", "page", "snapshot"} {
		m.stale.WithLabelValues(by) // A figure that is 0 is there.
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "parley_build_info", Help: "Always 1; the label tells the version.",
		ConstLabels: prometheus.Labels{"version": Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.commands, m.duration, m.triggers, m.facts, m.stale, m.size, m.took, m.ingested, m.refused, m.answered, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Command counts a command that was settled.
func (m *Metrics) Command(action, status string, took time.Duration) {
	m.commands.WithLabelValues(action, status).Inc()
	m.duration.WithLabelValues(action).Observe(took.Seconds())
}

// Trigger counts a trigger by its outcome: matched, ignored or failed.
func (m *Metrics) Trigger(outcome string) { m.triggers.WithLabelValues(outcome).Inc() }

// Fact counts a fact by its name.
func (m *Metrics) Fact(name string) { m.facts.WithLabelValues(name).Inc() }

// Refused counts a write of a former owner that was refused, by who refused it:
// lease, record, page or snapshot.
func (m *Metrics) Refused(by string) { m.stale.WithLabelValues(by).Inc() }

// Snapshot counts a snapshot that was saved or loaded, with its sealed size.
func (m *Metrics) Snapshot(op string, bytes int, took time.Duration) {
	m.size.WithLabelValues(op).Observe(float64(bytes))
	m.took.WithLabelValues(op).Observe(took.Seconds())
}

// Ingested counts events that came in, by what became of them: accepted,
// duplicate, conflict or rejected.
func (m *Metrics) Ingested(source, outcome string, events int) {
	m.ingested.WithLabelValues(source, outcome).Add(float64(events))
}

// IngestRejected counts what was refused or rejected, by the fault's reason.
func (m *Metrics) IngestRejected(source, reason string, events int) {
	m.refused.WithLabelValues(source, reason).Add(float64(events))
}

// IngestAnswered counts a request of a source that was answered.
func (m *Metrics) IngestAnswered(source string, status int, took time.Duration) {
	m.answered.WithLabelValues(source, strconv.Itoa(status)).Observe(took.Seconds())
}

// Figure is a number that somebody else counts, and that is read when the
// metrics are asked for.
type Figure struct {
	Name, Help string
	// Counts says that the number only rises.
	Counts bool
	Labels map[string]string
	// Read must be quick, and may be called by many goroutines.
	Read func() float64
}

// Watch adds figures. Their names and labels are new together.
func (m *Metrics) Watch(figures ...Figure) {
	for _, f := range figures {
		if f.Counts {
			m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: f.Name, Help: f.Help, ConstLabels: f.Labels,
			}, f.Read))
			continue
		}
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: f.Name, Help: f.Help, ConstLabels: f.Labels,
		}, f.Read))
	}
}

// Handler serves the metrics in Prometheus' format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Version returns the version that the binary was built from: a release's tag,
// or a revision.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && len(setting.Value) >= 12 {
			return setting.Value[:12]
		}
	}
	return "devel"
}
