package telemetry

import (
	"io"
	"log/slog"
	"time"

	"github.com/lmittmann/tint"
)

// LogOptions say what is logged and how. The zero value logs from the level
// info on, as JSON.
type LogOptions struct {
	Level slog.Level
	// Format is "text", "json" or "auto": text on a terminal, JSON elsewhere.
	Format string
	// Terminal says that the writer is a terminal that shows colours.
	Terminal bool
}

// NewLogger returns a logger that writes to w. Its records carry the
// attributes of their context: see [With].
func NewLogger(w io.Writer, o LogOptions) *slog.Logger {
	if o.Format == "text" || o.Format == "auto" && o.Terminal {
		return slog.New(contextual{tint.NewTextHandler(w, &tint.Options{
			Level: o.Level, TimeFormat: time.TimeOnly + ".000", NoColor: !o.Terminal,
		})})
	}
	return slog.New(contextual{slog.NewJSONHandler(w, &slog.HandlerOptions{Level: o.Level})})
}
