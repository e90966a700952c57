package vault

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// NoDumps keeps what the process has in memory out of files and out of reach: no
// core file is written of it or of a program that it starts, whatever the system
// is set to, and no other process of the same user may attach to it or read its
// memory. Call it before any secret is read. It cannot be taken back.
//
// A secret that is in use is somewhere in memory, in plain text. This is what
// can be promised of it.
func NoDumps() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbidding core files: %w", err)
	}
	// A limit does not hold for a system that pipes core files to a program.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbidding others to read the memory: %w", err)
	}
	return nil
}
