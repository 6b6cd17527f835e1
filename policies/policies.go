// Package policies holds the Rego that ships with AgentIdP: the mesh policy, which operators extend by data, and examples.
package policies

import (
	"embed"
	"io/fs"
)

//go:embed mesh/authz.rego mesh/lookup.rego mesh/problems.rego mesh/requirement.rego mesh/data.yaml mesh/data.schema.json
var mesh embed.FS

//go:embed examples/demo/data.yaml
var demo embed.FS

// Mesh returns the files of the mesh policy, without its tests. Its data.yaml allows nothing.
func Mesh() fs.FS { return sub(mesh, "mesh") }

// Demo returns a data.yaml to put in the place of Mesh's: what "agentidp dev" allows in front of its echo service.
func Demo() fs.FS { return sub(demo, "examples/demo") }

func sub(files fs.FS, dir string) fs.FS {
	f, err := fs.Sub(files, dir)
	if err != nil {
		panic(err) // the directory is part of the program
	}
	return f
}
