package app

import (
	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/browser"
)

// What an action sees and what a browser offers fit without knowing each other.
var _ actions.Page = (*browser.Tab)(nil)
