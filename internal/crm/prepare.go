package crm

import "context"

// A Preparer can make what its connector needs in the account, such as a field
// of its own for keys. It is optional, and is called only when a person asks for
// it: nothing is made in a CRM unasked.
type Preparer interface {
	// Prepare looks for what is needed and, unless dry, makes what is missing. It
	// may be called again at any time.
	Prepare(ctx context.Context, dry bool) ([]Preparation, error)
}

// Preparation is one thing that a connector needs in the account.
type Preparation struct {
	// What names it, such as "the property parley_key of contacts".
	What string
	// There says that it was there, Made that it was made now.
	There, Made bool
}
