package contend

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// memoryBelow adds up the memory of all processes below the process, in bytes:
// the proportional set size, in which what processes share counts once.
func memoryBelow(pid int) (int64, error) {
	all, err := processes()
	if err != nil {
		return 0, err
	}
	sum := int64(0)
	for _, id := range below(all, pid) {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(id) + "/smaps_rollup")
		if errors.Is(err, os.ErrPermission) {
			return 0, fmt.Errorf("reading the memory of the process %d: %w", id, err)
		}
		if err != nil || len(text) == 0 {
			continue // It has ended meanwhile, or is about to.
		}
		n, err := parsePSS(text)
		if err != nil {
			return 0, fmt.Errorf("reading the memory of the process %d: %w", id, err)
		}
		sum += n
	}
	return sum, nil
}

// OwnMemory returns the proportional set size of this process, in bytes.
func OwnMemory() (int64, error) {
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		return 0, fmt.Errorf("reading the memory of this process: %w", err)
	}
	return parsePSS(text)
}

// parsePSS returns the proportional set size of a file smaps_rollup, in bytes.
func parsePSS(text []byte) (int64, error) {
	for line := range bytes.Lines(text) {
		value, ok := bytes.CutPrefix(line, []byte("Pss:"))
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(value), []byte("kB")))), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the line Pss: %w", err)
		}
		return n << 10, nil
	}
	return 0, errors.New("it has no line Pss")
}
