package botstar

// PageCSP returns what BotStar's widget needs of the Content Security Policy of
// a page that shows it, by directive. Its styles are inline, and have no nonce.
func PageCSP() map[string][]string {
	return map[string][]string{
		"script-src": {widgetOrigin, "https://d1a354cq788jiu.cloudfront.net"},
		"frame-src":  {widgetOrigin},
		"img-src":    {"data:", "https://static.botstar.com", "https://app-upload-assets.cdn.botstar.com", "https://d1fmnevnt6737i.cloudfront.net"},
		"style-src":  {"'unsafe-inline'"},
	}
}
