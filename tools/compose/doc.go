// Package compose holds docker-compose.yml against the Compose specification. It
// is a module of its own: the specification's library is big.
package compose
