package report

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

// The chart's measures, in pixels.
const (
	chartWidth = 760
	chartLabel = 250 // where the bars begin
	chartRow   = 26
	chartHead  = 34
	chartRoom  = 90 // right of the longest bar, for its value
)

// Chart draws the measure of the first promise as one bar for each contender,
// with the range of its rounds as a thin line. It is an SVG image.
func (b Benchmark) Chart() string {
	measure := b.Lines[0].Measure
	most := 0.0
	for _, c := range b.Contenders {
		most = max(most, slices.Max(append(slices.Clone(c.Values[measure]), 0)))
	}
	scale := (chartWidth - chartLabel - chartRoom) / max(most, 1e-9)
	height := chartHead + chartRow*len(b.Contenders) + 10

	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" font-family="sans-serif" font-size="12">`+"\n",
		chartWidth, height, chartWidth, height)
	fmt.Fprintf(&s, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", chartWidth, height)
	fmt.Fprintf(&s, `<text x="10" y="20" font-weight="bold" fill="#222">%s: %s (%s is better)</text>`+"\n",
		html.EscapeString(b.Name), measure.title(), b.better())
	for i, c := range b.Contenders {
		y := chartHead + i*chartRow
		bar(&s, c, measure, y, scale, i == 0)
	}
	s.WriteString("</svg>\n")
	return s.String()
}

// bar draws one contender.
func bar(s *strings.Builder, c Contender, m Measure, y int, scale float64, ours bool) {
	values := c.Values[m]
	fmt.Fprintf(s, `<text x="%d" y="%d" text-anchor="end" fill="#222">%s</text>`+"\n",
		chartLabel-8, y+15, html.EscapeString(c.Name))
	if len(values) == 0 {
		return
	}
	colour := "#9aa5b1"
	if ours {
		colour = "#1f6feb"
	}
	median, low, high := Median(values), slices.Min(values), slices.Max(values)
	fmt.Fprintf(s, `<rect x="%d" y="%d" width="%.1f" height="16" fill="%s"/>`+"\n", chartLabel, y+3, median*scale, colour)
	fmt.Fprintf(s, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#222" stroke-width="1"/>`+"\n",
		chartLabel+low*scale, chartLabel+high*scale, y+11, y+11)
	fmt.Fprintf(s, `<text x="%.1f" y="%d" fill="#222">%s</text>`+"\n", chartLabel+high*scale+6, y+15, m.show(median))
}

func (b Benchmark) better() string {
	if b.Lines[0].AtLeast {
		return "more"
	}
	return "less"
}
