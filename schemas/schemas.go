// Package schemas is the published contract: a JSON Schema for the data of
// every type of event, and the AsyncAPI document that ties the types to their
// subjects. The files are generated from the Go types by `make generate`, and
// everything at run time reads the files.
package schemas

import "embed"

// FS holds v1/{command,result,event,trigger,dead}/<name>.schema.json and
// asyncapi.yaml. event.SchemaPath gives the path of a type's schema.
//
//go:embed v1 asyncapi.yaml
var FS embed.FS
