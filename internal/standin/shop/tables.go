package shop

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"unicode/utf16"
)

// The tables that a browser wants in a TrueType font, in the order of the
// OpenType specification's fields.

// assemble writes the font file: the directory, then the tables, each padded to
// four bytes.
func assemble(tables map[string][]byte) []byte {
	names := slices.Sorted(maps.Keys(tables))
	count := uint16(len(names)) //nolint:gosec // Ten.
	exponent := uint16(0)
	for 2<<exponent <= count {
		exponent++
	}
	span := uint16(16) << exponent
	directory := bytes.NewBuffer(pack(uint32(0x00010000), count, span, exponent, 16*count-span))
	var body bytes.Buffer
	start := 12 + 16*len(names)
	for _, name := range names {
		table := tables[name]
		directory.WriteString(name)
		directory.Write(pack(checksum(table), uint32(start+body.Len()), uint32(len(table)))) //nolint:gosec // A few dozen KB.
		body.Write(table)
		body.Write(make([]byte, (4-len(table)%4)%4))
	}
	return append(directory.Bytes(), body.Bytes()...)
}

func checksum(table []byte) uint32 {
	padded := append(slices.Clone(table), make([]byte, (4-len(table)%4)%4)...)
	var sum uint32
	for i := 0; i < len(padded); i += 4 {
		sum += binary.BigEndian.Uint32(padded[i:])
	}
	return sum
}

func headTable() []byte {
	return pack(uint32(0x00010000), uint32(0x00010000), uint32(0), uint32(0x5F0F3CF5), uint16(3), uint16(unitsPerEm),
		int64(0), int64(0), int16(0), int16(-200), int16(1000), int16(800), uint16(0), uint16(8), int16(2), int16(1), int16(0))
}

func hheaTable(glyphs int) []byte {
	return pack(uint32(0x00010000), int16(800), int16(-200), int16(0), uint16(1000), int16(0), int16(0), int16(1000),
		int16(1), int16(0), int16(0), int16(0), int16(0), int16(0), int16(0), int16(0), uint16(glyphs)) //nolint:gosec // Hundreds.
}

func hmtxTable(glyphs int) []byte {
	var out []any
	for range glyphs {
		out = append(out, uint16(1000), int16(0))
	}
	return pack(out...)
}

func maxpTable(glyphs int) []byte {
	return pack(uint32(0x00010000), uint16(glyphs), uint16(200), uint16(4), uint16(0), uint16(0), uint16(1), //nolint:gosec // Hundreds.
		uint16(0), uint16(0), uint16(0), uint16(0), uint16(0), uint16(0), uint16(0), uint16(0))
}

// cmapTable maps the private area to the icons, by one segment of format 4.
func cmapTable() []byte {
	last := uint16(firstIcon + iconCount - 1)
	delta := int16(1 - (firstIcon - 0x10000))
	sub := pack(uint16(4), uint16(32), uint16(0), uint16(4), uint16(4), uint16(1), uint16(0),
		last, uint16(0xFFFF), uint16(0), uint16(firstIcon), uint16(0xFFFF), delta, int16(1), uint16(0), uint16(0))
	return append(pack(uint16(0), uint16(1), uint16(3), uint16(1), uint32(12)), sub...)
}

func nameTable() []byte {
	texts := []string{"Desk Icons", "Regular", "desk-icons", "Desk Icons", "Version 1.0", "DeskIcons"}
	ids := []uint16{1, 2, 3, 4, 5, 6}
	var records, words []any
	offset := uint16(0)
	for i, text := range texts {
		encoded := utf16.Encode([]rune(text))
		length := uint16(2 * len(encoded)) //nolint:gosec // A few letters.
		records = append(records, uint16(3), uint16(1), uint16(0x409), ids[i], length, offset)
		offset += length
		for _, word := range encoded {
			words = append(words, word)
		}
	}
	count := uint16(len(ids)) //nolint:gosec // Six.
	return slices.Concat(pack(uint16(0), count, 6+12*count), pack(records...), pack(words...))
}

func os2Table() []byte {
	head := pack(uint16(4), int16(1000), uint16(400), uint16(5), uint16(0), int16(650), int16(600), int16(0), int16(75),
		int16(650), int16(600), int16(0), int16(350), int16(50), int16(300), int16(0))
	panose := make([]byte, 10)
	ranges := pack(uint32(0), uint32(1<<28), uint32(0), uint32(0))
	tail := pack(uint16(0x40), uint16(firstIcon), uint16(firstIcon+iconCount-1), int16(800), int16(-200), int16(0),
		uint16(800), uint16(200), uint32(1), uint32(0), int16(500), int16(700), uint16(0), uint16(32), uint16(1))
	return slices.Concat(head, panose, ranges, []byte("DESK"), tail)
}

func postTable() []byte {
	return pack(uint32(0x00030000), int32(0), int16(-75), int16(50), uint32(0), uint32(0), uint32(0), uint32(0), uint32(0))
}
