package browser

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A kind is what a browser process is for. The two kinds differ in their
// command lines, so one process never serves both.
type kind string

const (
	// light serves documents of our own, so a renderer holds one session's two
	// documents only.
	light kind = "light"
	// full serves customers' whole pages: with site isolation, and without
	// what no action needs.
	full kind = "full"
)

// smallShm is the size of /dev/shm below which Chromium must not use it.
const smallShm = 512 << 20

// flags returns the command line of a browser of the kind. There is no flag
// against the sandbox, and no debugging port.
func flags(b program, k kind, profile, proxy string, o Options) []string {
	list := []string{
		"--headless",
		"--remote-debugging-pipe",
		"--user-data-dir=" + profile,
		"--no-first-run",
		"--no-default-browser-check",
		"--disable-background-networking",
		"--disable-component-update",
		"--disable-sync",
		"--disable-default-apps",
		"--disable-extensions",
		"--disable-breakpad",
		"--disable-client-side-phishing-detection",
		"--metrics-recording-only",
		"--mute-audio",
		"--hide-scrollbars",
		"--disable-gpu",
		"--password-store=basic",
		"--disable-hang-monitor",
		"--disable-popup-blocking",
		"--disable-prompt-on-repost",
		"--disable-renderer-backgrounding",
		"--disable-background-timer-throttling",
		"--disable-backgrounding-occluded-windows",
		// A spare renderer costs a process for each session, and is not used.
		"--disable-features=Translate,MediaRouter,OptimizationHints,SpareRendererForSitePerProcess,BackForwardCache,RenderDocument",
		// A frame of another origin opens no dialog box. Two boxes at once, of two
		// renderers, would leave one of them open for ever.
		"--enable-features=SuppressDifferentOriginSubframeJSDialogs",
		fmt.Sprintf("--window-size=%d,%d", o.Window.Width, o.Window.Height),
		// A popup is refused before it exists.
		"--block-new-web-contents",
		// The network: only through the proxy, names included.
		"--proxy-server=" + proxy,
		"--proxy-bypass-list=" + noBypass,
		"--host-resolver-rules=MAP * ~NOTFOUND,EXCLUDE 127.0.0.1",
		"--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
		"--webrtc-ip-handling-policy=disable_non_proxied_udp",
	}
	if b.full {
		list[0] = "--headless=new"
	}
	if k == light {
		// One renderer for all tabs of a browser context. Contexts never share
		// one, whatever the limit.
		list = append(list, "--renderer-process-limit=1")
		if paced(b, k, o) {
			list = append(list, "--enable-begin-frame-control", "--run-all-compositor-stages-before-draw", "--disable-threaded-animation")
		}
	} else {
		list = append(list, "--site-per-process")
	}
	if !o.Images {
		list = append(list, "--blink-settings=imagesEnabled=false", "--disable-remote-fonts")
	}
	if len(o.TrustSPKI) > 0 {
		list = append(list, "--ignore-certificate-errors-spki-list="+strings.Join(o.TrustSPKI, ","))
	}
	var shm unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &shm); err != nil || shm.Blocks*uint64(shm.Bsize) < smallShm { //nolint:gosec // A block size is positive.
		list = append(list, "--disable-dev-shm-usage")
	}
	return append(slices.Clip(list), "about:blank")
}

// paced reports whether we give the browser its frames: see pacer. Only the
// headless shell can be told so. Full pages get theirs as usual, since nobody
// knows what a customer's page does with them.
func paced(b program, k kind, o Options) bool { return !o.OwnFrames && k == light && !b.full }

// hasWord reports whether the last part of the path has the word in it.
func hasWord(path, word string) bool {
	return strings.Contains(path[strings.LastIndexByte(path, '/')+1:], word)
}
