package contract

import (
	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
)

// Catalog returns the catalogue that the contract is made from.
func Catalog() (*actions.Catalog, error) { return actions.NewCatalog(botstar.Provider()) }
