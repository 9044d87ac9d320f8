package bot

import "github.com/shipmate-dev/shipmate/store"

// unratified tells whether a deployment went without approval and nobody agreed to it yet.
func unratified(d store.Deployment) bool { return !d.RatifyBy.IsZero() && d.RatifiedBy == "" }
