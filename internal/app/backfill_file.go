package app

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/parley-chat/parley/internal/fault"
)

// lineFile reads the lines of a file, which may be packed with gzip, and knows
// where it is.
type lineFile struct {
	file   *os.File
	packed *gzip.Reader // nil when the file is not packed
	lines  *bufio.Reader
	size   int64
	raw    int64 // bytes of the file that were read
	// offset is where the next line begins, in the unpacked text, and line its
	// number less one.
	offset, line int64
}

// gzipMagic is how a packed file begins.
const gzipMagic = "\x1f\x8b"

// openLines opens the file.
func openLines(name string) (*lineFile, error) {
	file, err := os.Open(name) //nolint:gosec // the operator names the file.
	if err != nil {
		return nil, fault.New(fault.BadConfig, "opening the file %s", name).Because(err)
	}
	f := &lineFile{file: file}
	info, err := file.Stat()
	if err == nil {
		f.size = info.Size()
		err = f.unpack()
	}
	if err != nil {
		_ = file.Close()
		return nil, fault.New(fault.BadConfig, "reading the file %s", name).Because(err)
	}
	return f, nil
}

// unpack finds out whether the file is packed.
func (f *lineFile) unpack() error {
	counted := bufio.NewReaderSize(&countedReader{f.file, &f.raw}, 256<<10)
	begin, err := counted.Peek(len(gzipMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if string(begin) != gzipMagic {
		f.lines = counted
		return nil
	}
	if f.packed, err = gzip.NewReader(counted); err != nil {
		return fmt.Errorf("unpacking: %w", err)
	}
	f.lines = bufio.NewReaderSize(f.packed, 256<<10)
	return nil
}

// skip goes to an offset that lies ahead, whose line has the number.
func (f *lineFile) skip(offset, line int64) error {
	if f.packed == nil {
		if _, err := f.file.Seek(offset, io.SeekStart); err != nil {
			return fmt.Errorf("going to byte %d: %w", offset, err)
		}
		f.raw = offset
		f.lines.Reset(&countedReader{f.file, &f.raw})
	} else if _, err := io.CopyN(io.Discard, f.lines, offset); err != nil {
		return fmt.Errorf("going to byte %d of the unpacked file: %w", offset, err)
	}
	f.offset, f.line = offset, line
	return nil
}

// next returns the next line without its end. One that is longer than maxLine is
// cut off, and long. The error is io.EOF after the last line.
func (f *lineFile) next() (text []byte, long bool, err error) {
	for {
		part, err := f.lines.ReadSlice('\n')
		f.offset += int64(len(part))
		if room := maxLine + 1 - len(text); len(part) > room { // One for the end of the line.
			long, part = true, part[:room]
		}
		text = append(text, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case err == nil, errors.Is(err, io.EOF) && len(text) > 0:
			f.line++
			return trimEnd(text), long, nil
		case errors.Is(err, io.EOF):
			return nil, false, io.EOF
		default:
			return nil, false, fmt.Errorf("reading line %d: %w", f.line+1, err)
		}
	}
}

func trimEnd(line []byte) []byte {
	for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
		line = line[:len(line)-1]
	}
	return line
}

// done returns how much of the file was read, from 0 to 1.
func (f *lineFile) done() float64 {
	if f.size == 0 {
		return 1
	}
	return min(1, float64(f.raw)/float64(f.size))
}

func (f *lineFile) close() { _ = f.file.Close() }

// countedReader counts what is read.
type countedReader struct {
	from io.Reader
	n    *int64
}

// Read implements io.Reader.
func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	*c.n += int64(n)
	return n, err //nolint:wrapcheck // As any reader.
}
