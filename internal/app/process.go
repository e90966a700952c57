package app

import (
	"io"
	"net/http"
	"os"
)

// Process is what a command has of the process that it runs in. Tests give it
// other streams.
type Process struct {
	Args           []string // without the program's name
	Env            Env
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Vendors, if set, reaches the vendors' OAuth servers in place of the network.
	Vendors *http.Client
	// Terminal says, of each stream, whether it is a terminal.
	Terminal struct{ In, Out, Err bool }
}

// ThisProcess returns the real process.
func ThisProcess() Process {
	p := Process{Args: os.Args[1:], Env: EnvOf(os.Environ()), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	plain := p.Env["NO_COLOR"] != "" || p.Env["TERM"] == "dumb"
	p.Terminal.In = isTerminal(os.Stdin)
	p.Terminal.Out = isTerminal(os.Stdout) && !plain
	p.Terminal.Err = isTerminal(os.Stderr) && !plain
	return p
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
