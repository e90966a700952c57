package app

import (
	"strconv"

	"github.com/parley-chat/parley/internal/telemetry"
	"github.com/parley-chat/parley/internal/visitor"
)

// gatewayFigures are the figures of the gateway that visitors' pages connect
// with.
func gatewayFigures(now func() visitor.Stats) []telemetry.Figure {
	all := []telemetry.Figure{
		gauge("parley_gateway_connections", "Connections of visitors' pages that are open.", func() int { return now().Connections }),
		gauge("parley_gateway_visitors", "Visitors who are connected, or were lately.", func() int { return now().Visitors }),
		counter("parley_gateway_welcomed_total", "Connections that were let in.", func() int64 { return now().Opened }),
		counter("parley_gateway_reconnects_total", "Of them, those of pages that had been connected before.", func() int64 { return now().Returned }),
		counter("parley_gateway_drained_total", "Connections that were asked to connect elsewhere.", func() int64 { return now().Drained }),
		counter("parley_gateway_slow_total", "Connections whose page did not read.", func() int64 { return now().Slow }),
		counter("parley_gateway_flooded_total", "Connections that were refused or closed for too much at once.", func() int64 { return now().Flooded }),
		counter("parley_gateway_forged_total", "Tokens and identities that are not good.", func() int64 { return now().Forged }),
		counter("parley_gateway_frames_total", "Frames that came in.", func() int64 { return now().Frames }),
		counter("parley_gateway_calls_total", "Calls that went to pages.", func() int64 { return now().Calls }),
		counter("parley_gateway_answers_total", "Answers of pages to them.", func() int64 { return now().Answers }),
		counter("parley_gateway_signals_total", "Signals of widgets that were taken.", func() int64 { return now().Signals }),
		counter("parley_gateway_facts_total", "Facts that were stored of them.", func() int64 { return now().Facts }),
		counter("parley_gateway_tracks_total", "Events of pages' own analytics that were taken.", func() int64 { return now().Tracks }),
		counter("parley_gateway_dropped_total", "What pages said and came to nothing: it was none, or to nobody.", func() int64 { return now().Dropped }),
	}
	all = append(all, gatewayBytes(now)...)
	return append(append(all, gatewayRefusals(now)...), gatewayEnds(now)...)
}

// gatewayBytes are what went over the connections.
func gatewayBytes(now func() visitor.Stats) []telemetry.Figure {
	const name, about = "parley_gateway_bytes_total", "Bytes of visitors' connections, by direction."
	return []telemetry.Figure{
		labelled(counter(name, about, func() int64 { return now().In }), "direction", "in"),
		labelled(counter(name, about, func() int64 { return now().Out }), "direction", "out"),
	}
}

// gatewayRefusals are the connections that were not let in.
func gatewayRefusals(now func() visitor.Stats) []telemetry.Figure {
	var all []telemetry.Figure
	for _, reason := range visitor.Refusals() {
		f := counter("parley_gateway_refused_total", "Connections that were not let in, by reason.", func() int64 { return now().Refusals[reason] })
		all = append(all, labelled(f, "reason", reason))
	}
	return all
}

// gatewayEnds are the connections that ended.
func gatewayEnds(now func() visitor.Stats) []telemetry.Figure {
	var all []telemetry.Figure
	for _, code := range visitor.EndCodes() {
		f := counter("parley_gateway_closed_total", "Connections that ended, by the code that they were closed with; 0 broke off.", func() int64 { return now().Ends[code] })
		all = append(all, labelled(f, "code", strconv.Itoa(code)))
	}
	return all
}
