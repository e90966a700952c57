package app

import (
	"fmt"
	"strconv"
	"strings"
)

// Bytes returns the number of bytes, and 0 for none.
func (s Size) Bytes() (int64, error) {
	text := strings.TrimSpace(string(s))
	if text == "" {
		return 0, nil
	}
	shift := 0
	for unit, bits := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30} {
		if rest, ok := strings.CutSuffix(text, unit); ok {
			text, shift = strings.TrimSpace(rest), bits
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || shift == 0 || n <= 0 || n > 1<<20 {
		return 0, fmt.Errorf("%q is not a size such as 512MiB or 2GiB", string(s))
	}
	return n << shift, nil
}

// showBytes shows a number of bytes to a person.
func showBytes(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
