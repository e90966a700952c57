//go:build browser

package botstar_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
)

const listen = `window.heard = [];
	BotStarApi('onOpen', function () { heard.push('open:' + arguments.length); });
	BotStarApi('onClose', function () { heard.push('close:' + arguments.length); });`

func TestWidgetOnTheShopsHome(t *testing.T) {
	t.Parallel()
	w := setup(t, botstar.Options{}, nil)
	tab := w.open(shop.Origin + "/")
	boot := w.reached(botstar.Booted, 1)
	if boot.AppID != shop.AppID || !boot.Anonymous || boot.Page != shop.Origin+"/" || boot.Mode != "livechat" {
		t.Errorf("booted as %+v", boot)
	}
	tab.run(listen + ` BotStarApi('open')`)
	w.reached(botstar.Opened, 1)
	picture, err := chromedp.Run(tab.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.ArtifactDir(), "widget.png")
	if err := os.WriteFile(file, picture, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Logf("the opened widget: %s (kept with -artifacts)", file)
	tab.run(`BotStarApi('update', {first_name: 'Ada', tags: ['vip']}); BotStarApi('close')`)
	w.reached(botstar.Closed, 1)
	update := w.reached(botstar.Updated, 1)
	if update.After.Attributes["first_name"] != "Ada" || len(update.After.Tags) != 1 {
		t.Errorf("updated to %+v", update.After)
	}
	if got := eval[string](tab, `heard.join()`); got != "open:0,close:0" {
		t.Errorf("the listeners heard %q", got)
	}
}
