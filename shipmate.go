// Package shipmate holds what stands at the repository's root for people to read and is part of the program too.
package shipmate

import _ "embed"

// AppManifest is app.yaml: the permissions and events that Shipmate asks of GitHub, each with its reason. The set-up registers
// the App from it, and the doctor compares the App with it.
//
//go:embed app.yaml
var AppManifest []byte
