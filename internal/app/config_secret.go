package app

import (
	"fmt"
	"os"
	"strings"

	"github.com/parley-chat/parley/internal/fault"
)

// legal reports whether it is a reference, or empty.
func (s Secret) legal() bool {
	kind, rest, _ := strings.Cut(string(s), ":")
	return s == "" || kind == "env" && rest != "" || kind == "file" && strings.HasPrefix(rest, "/")
}

// Path returns the path of the file that the reference names: of file:/path the
// path, of env:NAME the variable's value. An empty reference has no path. A file
// that others can read is refused; its group may, as secrets are mounted in
// containers.
func (s Secret) Path(env Env) (string, error) {
	file, err := s.file(env)
	if file == "" || err != nil {
		return "", err
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", fault.New(fault.BadConfig, "the secret %s cannot be read", s).Because(err).WithFix("check the path and its permissions")
	}
	if info.Mode().Perm()&0o007 != 0 {
		return file, fault.New(fault.BadConfig, "the file of %s can be read by others", s).WithFix("run chmod 600 %s", file)
	}
	return file, nil
}

// file is Path without a look at the file.
func (s Secret) file(env Env) (string, error) {
	kind, rest, _ := strings.Cut(string(s), ":")
	if s == "" || kind != "env" {
		return rest, nil
	}
	file := env[rest]
	if file == "" {
		return "", fault.New(fault.BadConfig, "the environment variable %s is not set", rest).
			WithFix("set %s, or change the reference %s", rest, s)
	}
	return file, nil
}

// String returns the reference. It holds no secret.
func (s Secret) String() string { return string(s) }

// redact returns a URL's text without its password.
func redact(url string) string {
	at := strings.LastIndex(url, "@")
	scheme := strings.Index(url, "://")
	if at < 0 || scheme < 0 || at < scheme {
		return url
	}
	return fmt.Sprintf("%s://***%s", url[:scheme], url[at:])
}
