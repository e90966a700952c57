package botstar

import "regexp"

// App is a published bot.
type App struct {
	// Name and Tagline stand in the header of the conversation.
	Name, Tagline string
	// Color is the CSS colour of the header and the buttons.
	Color string
	// Messages are what the bot says first.
	Messages []Message
	// Blocks are what the bot says first when the conversation begins at the
	// block of that id.
	Blocks map[string][]Message
	// Reply is what the bot answers to everything.
	Reply string
}

// Message is one message of the bot, in the vendor's JSON format.
type Message struct {
	Text    string   `json:"text"`
	Buttons []Button `json:"buttons,omitempty"`
}

// Button is a button of a message. Without a payload it answers with its value.
type Button struct {
	Title   string   `json:"title"`
	Value   string   `json:"value,omitempty"`
	Payload *Payload `json:"payload,omitempty"`
}

// Payload is what a button does.
type Payload struct {
	// WebURL is a page; a relative one is a page of the site.
	WebURL string `json:"web_url"`
	// DisplayMode is "internal" for a webview inside the chat, or "external".
	DisplayMode string `json:"display_mode,omitempty"`
	// WebviewSize is "compact", "tall" or "full".
	WebviewSize string `json:"webview_size,omitempty"`
	// Inputs are the values of the webview's parameters. The vendor's builder
	// sets them elsewhere.
	Inputs map[string]any `json:"inputs,omitempty"`
}

// wellFormed is the shape of app ids and block ids.
var wellFormed = regexp.MustCompile(`^s[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$`)

// app returns the bot that is published under the id.
func (o Options) app(id string) (App, bool) {
	if !wellFormed.MatchString(id) {
		return App{}, false
	}
	if o.Apps == nil {
		return demoApp(), true
	}
	app, ok := o.Apps[id]
	return app, ok
}

// opening returns the bot's first messages.
func (a App) opening(block string) []Message {
	if messages, ok := a.Blocks[block]; ok {
		return messages
	}
	return a.Messages
}

// demoApp is the bot of the demo. Its webviews are pages of the demo shop.
func demoApp() App {
	return App{
		Name:    "Nova",
		Tagline: "Usually answers at once",
		Color:   "#2b6cf6",
		Messages: []Message{
			{Text: "Hi there! I am Nova, the shop's assistant."},
			{Text: "May I help you to find the plan that fits?", Buttons: []Button{
				{Title: "Calculate my price", Payload: &Payload{
					WebURL: "/webview/calculator.html", DisplayMode: "internal", WebviewSize: "tall",
					Inputs: map[string]any{"plan": "Team", "seats": "5"},
				}},
				{Title: "Book a call", Payload: &Payload{
					WebURL: "/webview/booking.html", DisplayMode: "internal", WebviewSize: "full",
					Inputs: map[string]any{"name": "Guest"},
				}},
				{Title: "Just looking"},
			}},
		},
		Reply: "Thank you! A colleague will be with you in a moment.",
	}
}
