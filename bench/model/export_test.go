package model

// Unfenced returns the run with workers that do not ask whether their lease is
// still theirs.
func Unfenced(c Config) Config {
	c.unfenced = true
	return c
}
