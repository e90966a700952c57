//go:build browser

package browser

import (
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDialogsAreClosedAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, pages(map[string]string{
		"/":      `<script>addEventListener("load", () => alert("hello"))</script><iframe src="https://` + widgetHost + `/frame"></iframe>`,
		"/frame": `<script>alert("from the frame")</script>`,
	}))
	p := newPool(t, s.options(t))
	for name, r := range map[string]Request{"light": lightRequest(""), "full": fullRequest("/")} {
		tab := open(t, p, r)
		for i, test := range []struct {
			call string
			want any
		}{{"alert", nil}, {"confirm", false}, {"prompt", nil}} {
			before := tab.Stats().Dialogs
			begun := time.Now()
			got := ask[any](t, tab, "run", map[string]any{"name": test.call, "args": []string{"sure?"}})
			if got != test.want {
				t.Errorf("%s: %s answered %v, want %v", name, test.call, got, test.want)
			}
			if after := tab.Stats(); after.Dialogs <= before || after.Dialog == "" {
				t.Errorf("%s: dialog %d was not counted: %+v", name, i, after)
			}
			t.Log(name, test.call, time.Since(begun))
		}
	}
}

// TestDialogsOfFramesLeaveThePagesAlone has a frame that asks for boxes all the
// time: each refusal made Chromium forget a box of the page.
func TestDialogsOfFramesLeaveThePagesAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t, pages(map[string]string{
		"/": `<iframe src="https://` + widgetHost + `/frame"></iframe>`,
		"/frame": `<script>
const inner = document.createElement("iframe");
document.documentElement.append(inner);
const ask = () => { alert("a"); confirm("b"); prompt("c"); inner.contentWindow.alert("d"); };
ask(); setInterval(ask);
</script>`,
	}))
	tab := open(t, newPool(t, s.options(t)), fullRequest("/"))
	const boxes = 100
	for range boxes {
		if got := ask[any](t, tab, "run", map[string]any{"name": "confirm", "args": []string{"sure?"}}); got != false {
			t.Fatalf("confirm answered %v, want false", got)
		}
	}
	if got := tab.Stats().Dialogs; got != boxes {
		t.Errorf("%d boxes were counted, want %d", got, boxes)
	}
}

func TestBeforeunloadDoesNotHoldThePage(t *testing.T) {
	t.Parallel()
	p := newPool(t, newSite(t, pages(map[string]string{"/next": "next"})).options(t))
	tab := open(t, p, lightRequest(`<script>onbeforeunload = (e) => { e.preventDefault(); return "stay"; }</script>`))
	if err := tab.Navigate(within(t, 10*time.Second), "https://"+shopHost+"/next"); err != nil {
		t.Fatal(err)
	}
	if got := ask[string](t, tab, "where", nil); got != "https://"+shopHost+"/next" {
		t.Errorf("the page is at %s", got)
	}
}

func TestPopupsAreRefusedAndCounted(t *testing.T) {
	t.Parallel()
	p := newPool(t, newSite(t, pages(map[string]string{"/": "hello"})).options(t))
	const popups = 20
	tab := open(t, p, lightRequest(`<script>function pop(n) {
  let got = 0;
  for (let i = 0; i < n; i++) if (window.open("/", "w" + i)) got++;
  const a = document.createElement("a"); a.href = "/"; a.target = "_blank"; a.click();
  return got;
}</script>`))
	if got := ask[int](t, tab, "run", map[string]any{"name": "pop", "args": []int{popups}}); got != 0 {
		t.Errorf("%d windows were opened", got)
	}
	ask[int](t, tab, "echo", 1) // the events of the windows came before its answer
	if got := tab.Stats().Popups; got < popups {
		t.Errorf("%d popups were counted, want %d", got, popups)
	}
	var inRoom int
	for _, other := range tab.room.proc.all() {
		if other.room == tab.room {
			inRoom++
		}
	}
	if inRoom != 1 {
		t.Errorf("the session has %d tabs", inRoom)
	}
}

func TestDownloadsAreDenied(t *testing.T) {
	t.Parallel()
	s := newSite(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Disposition", `attachment; filename="evil.bin"`)
		_, _ = w.Write(make([]byte, 1<<16))
	}))
	o := s.options(t)
	p := newPool(t, o)
	tab := open(t, p, lightRequest(`<script>function load(n) {
  for (let i = 0; i < n; i++) { const a = document.createElement("a"); a.href = "/evil" + i; a.download = "evil"; document.body.append(a); a.click(); }
}</script><body>`))
	if err := tab.Call(within(t, 5*time.Second), "run", map[string]any{"name": "load", "args": []int{5}}, nil); err != nil {
		t.Fatal(err)
	}
	ctx := within(t, 10*time.Second)
	for tab.Stats().Downloads == 0 {
		ask[int](t, tab, "echo", 1)
		if ctx.Err() != nil {
			t.Fatal("no download was counted")
		}
	}
	_ = filepath.WalkDir(o.Dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.Contains(d.Name(), "evil") {
			t.Errorf("a file was written: %s", path)
		}
		return nil
	})
}

func TestPermissionsAreDenied(t *testing.T) {
	t.Parallel()
	p := newPool(t, newSite(t, pages(nil)).options(t))
	tab := open(t, p, lightRequest(`<script>async function may() {
  const out = { notification: await Notification.requestPermission() };
  for (const name of ["geolocation", "camera", "microphone", "clipboard-read", "midi", "persistent-storage"]) {
    try { out[name] = (await navigator.permissions.query({ name })).state; } catch (e) { out[name] = "unknown"; }
  }
  try { await navigator.mediaDevices.getUserMedia({ video: true, audio: true }); out.media = "granted"; } catch (e) { out.media = e.name; }
  window.print();
  return out;
}</script>`))
	for name, state := range ask[map[string]string](t, tab, "run", map[string]any{"name": "may"}) {
		if state == "granted" {
			t.Errorf("%s is granted", name)
		}
		t.Log(name, state)
	}
}
