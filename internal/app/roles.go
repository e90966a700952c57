package app

import "slices"

// What a worker may do. A worker without roles does all of it.
const (
	roleActions   = "actions"
	roleWorkflows = "workflows"
	roleIngest    = "ingest"
	roleCRM       = "crm"
	roleGateway   = "gateway"
)

// roles returns what a worker may do.
func roles() []string { return []string{roleActions, roleWorkflows, roleIngest, roleCRM, roleGateway} }

// does reports whether the worker has the role.
func (c *Config) does(role string) bool {
	return len(c.Worker.Roles) == 0 || slices.Contains(c.Worker.Roles, role)
}
