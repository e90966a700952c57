package shop

import (
	"bytes"
	"encoding/binary"
	"math"
)

// The icon font is a small TrueType font: its first glyphs are the icons of the
// pages, at U+E000 and on; many more follow, as in icon fonts that nobody cut
// down.
const (
	firstIcon  = 0xE000
	iconCount  = 100
	unitsPerEm = 1000
)

// A contour is a closed polygon in font units, clockwise.
type contour [][2]int16

// icons returns the font file.
func icons() []byte {
	glyphs := [][]contour{{polygon(4, 0, 400)}} // The glyph for what is missing.
	for i := range iconCount {
		glyphs = append(glyphs, icon(i))
	}
	glyf, loca := outlines(glyphs)
	return assemble(map[string][]byte{
		"OS/2": os2Table(), "cmap": cmapTable(), "glyf": glyf, "head": headTable(), "hhea": hheaTable(len(glyphs)),
		"hmtx": hmtxTable(len(glyphs)), "loca": loca, "maxp": maxpTable(len(glyphs)), "name": nameTable(), "post": postTable(),
	})
}

// icon draws the icon of the number: a star in a ring, with ever more points.
func icon(i int) []contour {
	points := 5 + i%9
	ring := []contour{polygon(24, 0, 420), reversed(polygon(24, 0, 360))}
	return append(ring, star(points, float64(i)/9, 260, 120))
}

func polygon(corners int, turn, radius float64) contour {
	return star(corners, turn, radius, radius*math.Cos(math.Pi/float64(corners)))
}

func star(points int, turn, outer, inner float64) contour {
	var c contour
	for k := range 2 * points {
		radius := outer
		if k%2 == 1 {
			radius = inner
		}
		angle := math.Pi/2 + turn - math.Pi*float64(k)/float64(points)
		c = append(c, [2]int16{int16(500 + radius*math.Cos(angle)), int16(350 + radius*math.Sin(angle))})
	}
	return c
}

func reversed(c contour) contour {
	var back contour
	for i := range c {
		back = append(back, c[len(c)-1-i])
	}
	return back
}

// outlines returns the tables glyf and loca.
func outlines(glyphs [][]contour) (glyf, loca []byte) {
	var body bytes.Buffer
	offsets := []any{uint32(0)}
	for _, glyph := range glyphs {
		body.Write(outline(glyph))
		offsets = append(offsets, uint32(body.Len())) //nolint:gosec // The font has a few dozen KB.
	}
	return body.Bytes(), pack(offsets...)
}

// outline writes a glyph with every corner on the curve and every coordinate in
// its long form.
func outline(contours []contour) []byte {
	low, high := [2]int16{32767, 32767}, [2]int16{-32768, -32768}
	var ends, flags, xs, ys []any
	var last [2]int16
	count := uint16(0)
	for _, c := range contours {
		for _, p := range c {
			low = [2]int16{min(low[0], p[0]), min(low[1], p[1])}
			high = [2]int16{max(high[0], p[0]), max(high[1], p[1])}
			flags, xs, ys = append(flags, uint8(1)), append(xs, p[0]-last[0]), append(ys, p[1]-last[1])
			last = p
			count++
		}
		ends = append(ends, count-1)
	}
	head := pack(int16(len(contours)), low[0], low[1], high[0], high[1]) //nolint:gosec // A handful.
	body := bytes.Join([][]byte{head, pack(ends...), pack(uint16(0)), pack(flags...), pack(xs...), pack(ys...)}, nil)
	return append(body, make([]byte, (4-len(body)%4)%4)...)
}

// pack writes the numbers big-endian, one after another.
func pack(numbers ...any) []byte {
	var out bytes.Buffer
	for _, n := range numbers {
		_ = binary.Write(&out, binary.BigEndian, n) // A buffer takes everything.
	}
	return out.Bytes()
}
