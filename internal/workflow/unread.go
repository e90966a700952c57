package workflow

import (
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/parley-chat/parley/internal/event"
)

// unread is an object that expressions see. Of its members those are read that
// they ask for by name, and all when they ask for more. It belongs to one
// evaluation.
type unread struct {
	raw  event.Raw // nil is an empty object
	read traits.Mapper
}

// all returns the object with all of its members.
func (u *unread) all() traits.Mapper {
	if u.read == nil {
		u.read = types.NewStringInterfaceMap(types.DefaultTypeAdapter, u.raw.Map())
	}
	return u.read
}

// FindStringKey returns the member of the name. CEL asks for it in this way when
// the name stands in the expression.
func (u *unread) FindStringKey(name string) (any, bool) {
	found, ok := u.raw.Find(name)
	return found.Any(), ok
}

// Find returns the member of the name.
func (u *unread) Find(key ref.Val) (ref.Val, bool) {
	name, isText := key.(types.String)
	if !isText {
		return u.all().Find(key)
	}
	found, ok := u.raw.Find(string(name))
	if !ok {
		return nil, false
	}
	return types.DefaultTypeAdapter.NativeToValue(found.Any()), true
}

// The rest is that of the whole object.

// Get returns the member of the name, or an error.
func (u *unread) Get(key ref.Val) ref.Val { return u.all().Get(key) }

// Contains reports whether there is a member of the name.
func (u *unread) Contains(key ref.Val) ref.Val { return u.all().Contains(key) }

// Iterator goes over the names.
func (u *unread) Iterator() traits.Iterator { return u.all().Iterator() }

// Size returns the number of members.
func (u *unread) Size() ref.Val { return u.all().Size() }

// Equal reports whether the other is a map of the same members.
func (u *unread) Equal(other ref.Val) ref.Val { return u.all().Equal(other) }

// ConvertToNative returns the members as a value of Go.
func (u *unread) ConvertToNative(want reflect.Type) (any, error) {
	return u.all().ConvertToNative(want) //nolint:wrapcheck // It stands for the map.
}

// ConvertToType returns the map itself, or its type.
func (u *unread) ConvertToType(want ref.Type) ref.Val { return u.all().ConvertToType(want) }

// Type returns the type of maps.
func (u *unread) Type() ref.Type { return types.MapType }

// Value returns the members.
func (u *unread) Value() any { return u.all().Value() }
