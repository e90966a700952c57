package vault

// Opens returns whether the sealed record opens as the connection's, for tests.
func Opens(with Sealer, name Name, sealed []byte) error {
	_, err := open(with, name, sealed)
	return err
}

// Key returns the connection's key in the store, for tests.
func Key(name Name) string { return name.Filled().key() }
