package botstar

import (
	"html"
	"strings"

	"github.com/parley-chat/parley/internal/actions"
)

// light returns the document of a light page: what the widget needs of the
// site's page and nothing more. It carries no configuration of a visitor, since
// the boot puts BotStar's own snippet in, with the visitor in it; and an
// element for the inline mode, because here the page is ours.
func light(site actions.Site) string {
	var b strings.Builder
	b.WriteString("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>")
	b.WriteString(html.EscapeString(site.Name))
	b.WriteString("</title>\n<link rel=\"icon\" href=\"data:,\">\n</head>\n<body>\n")
	b.WriteString("<main class=\"chatbot-container\" data-parley=\"light\"></main>\n</body>\n</html>\n")
	return b.String()
}
