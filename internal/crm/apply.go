package crm

// NeedsPresent reports whether a field of the contact has a rule that asks for
// the present value. It is for connectors that apply the rules themselves.
func (c Contact) NeedsPresent() bool { return ruled(c.Fields) }

// Applied returns the fields that are to be written, given the contact as it is
// in the CRM, or nil when there is none yet.
func (c Contact) Applied(present *Contact) []Field { return apply(c, present) }
