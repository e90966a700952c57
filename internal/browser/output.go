package browser

import (
	"io"
	"slices"
	"strings"
	"sync"
)

// maxOutput is how much of a browser's output is kept.
const maxOutput = 4 << 10

// output keeps the last part of what a browser prints.
type output struct {
	mu   sync.Mutex // guards tail
	tail []byte
}

// read reads to the end.
func (o *output) read(from io.Reader) {
	buf := make([]byte, maxOutput)
	for {
		n, err := from.Read(buf)
		o.mu.Lock()
		o.tail = append(o.tail, buf[:n]...)
		if extra := len(o.tail) - maxOutput; extra > 0 {
			o.tail = append(o.tail[:0], o.tail[extra:]...)
		}
		o.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// usual reports whether Chromium prints such a line on every machine without a
// desktop.
func usual(line string) bool {
	return strings.Contains(line, ":WARNING:") || strings.Contains(line, ":INFO:") || strings.Contains(line, ":dbus/")
}

// last returns the last lines that say something, in one line.
func (o *output) last() string {
	const lines = 3
	o.mu.Lock()
	defer o.mu.Unlock()
	list := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(o.tail), "")), "\n")
	list = slices.DeleteFunc(list, usual)
	return strings.Join(list[max(len(list)-lines, 0):], " | ")
}
