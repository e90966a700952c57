//go:build browser

package app

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/session"
)

// operator runs the worker's command line against the rig.
func (r *devRig) operator(args ...string) (code int, stdout, stderr string) {
	r.t.Helper()
	var out, problems output
	code = Worker(r.t.Context(), Process{
		Args: args, Env: Env{"PARLEY_BUS_DIR": r.env["PARLEY_BUS_DIR"]}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &problems,
	})
	return code, out.String(), problems.String()
}

// event sends an event to the rig's edge.
func (r *devRig) event(body string) {
	r.t.Helper()
	_, rest, _ := strings.Cut(r.out.String(), "events   http://")
	address, _, _ := strings.Cut(rest, ",")
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, "http://"+address+"/in/try", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusAccepted {
		r.t.Errorf("the event is answered %d", response.StatusCode)
	}
}

// asked runs the command, which has to succeed and print the text.
func (r *devRig) asked(text string, args ...string) string {
	r.t.Helper()
	code, out, problems := r.operator(args...)
	if code != 0 || !strings.Contains(out, text) {
		r.t.Errorf("worker %s ended with %d:\n%s%s\nwant %q", strings.Join(args, " "), code, out, problems, text)
	}
	return out
}

// TestOperator does what an operator does with the sessions of a worker.
func TestOperator(t *testing.T) {
	t.Parallel()
	r := startRig(t)
	r.send("botstar.widget.open", "--visitor", "u-op")
	key := event.SessionKey("shop", event.Visitor{UserID: "u-op"})
	name := "shop/" + key

	r.asked("dev", "workers")
	var worker crew
	if err := json.Unmarshal([]byte(r.asked("", "workers", "--json")), &worker); err != nil || worker.Worker != "dev" ||
		len(worker.Partitions) != 64 || worker.Status == nil || worker.Status.Pages != 1 {
		t.Errorf("the worker is %+v, %v", worker, err)
	}
	r.asked(name, "sessions", "list")
	show := func() (s found) {
		t.Helper()
		if err := json.Unmarshal([]byte(r.asked("", "sessions", "show", name, "--json")), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := show(); s.State != session.Held || !s.Open || s.Worker != "dev" || s.Session != key {
		t.Errorf("the session is %+v", s)
	}
	r.asked("keeps its page", "sessions", "pin", key[:8])
	r.asked("pinned", "sessions", "show", key)
	r.asked("may be closed", "sessions", "unpin", name)
	r.asked("was stored by dev", "sessions", "evict", name)
	if s := show(); s.State != session.Hibernated || !s.Open || s.SavedAt.IsZero() {
		t.Errorf("the session that was put away is %+v", s)
	}
	// It comes back as it was.
	if _, result := r.send("botstar.widget.close", "--visitor", "u-op"); !result.Verified || len(result.Steps) != 1 {
		t.Errorf("closing the window of a session that was away: %+v", result)
	}
	r.asked("handed over everything", "drain")
	r.asked("takes commands again", "drain", "dev", "--resume")
	bustest.Until(t, "the worker is back", func() bool {
		code, _, _ := r.operator("workers")
		return code == 0
	})
	// Nobody remembers it now, and it is stored.
	if s := show(); s.Worker != "" || s.State != session.Hibernated {
		t.Errorf("the session after the drain is %+v", s)
	}
	// Whom events have linked to the visitor is erased with the visitor, and the links too.
	r.event(`{"event":"Signed In","user_id":"u-op","email":"op@example.test","anonymous_id":"a-op"}`)
	r.event(`{"event":"Seen","user_id":"u-op","email":"op@example.test"}`)
	byAddress := "shop/" + event.SessionKey("shop", event.Visitor{Email: "op@example.test"})
	if out := r.asked("erased: "+name, "sessions", "erase", "--site", "shop", "--visitor", "u-op"); !strings.Contains(out, byAddress) {
		t.Errorf("the address was not erased: %s", out)
	}
	if out := r.asked("erased: "+name, "sessions", "erase", "--site", "shop", "--visitor", "u-op"); strings.Contains(out, byAddress) {
		t.Errorf("the address is still known: %s", out)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"sessions", "show", name}, "no session"},
		{[]string{"sessions", "show", "zzzz"}, "worker sessions list"},
		{[]string{"sessions", "show", "../x"}, "does not name a session"},
		{[]string{"sessions", "erase", "--site", "shop"}, "no visitor is named"},
		{[]string{"sessions", "list", "--worker", "dve"}, "did you mean dev?"},
		{[]string{"drain", "nobody"}, "worker workers"},
		{[]string{"drain", "--resume"}, "name the drained one"},
	} {
		if code, out, problems := r.operator(test.args...); code == 0 || !strings.Contains(problems, test.want) || !strings.Contains(problems, "fix: ") {
			t.Errorf("%v ended with %d: %s%s; want %q", test.args, code, out, problems, test.want)
		}
	}
	// The keys that seal what is stored lie beside the streams, for their owner only.
	info, err := os.Stat(filepath.Join(r.env["PARLEY_BUS_DIR"], keyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file: %v, %v", info, err)
	}
}
