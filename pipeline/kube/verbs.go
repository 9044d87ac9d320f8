package kube

// A Right is what is done with one resource of a namespace (Kubernetes RBAC: API group, resource or resource/subresource, verbs).
type Right struct {
	Group    string // empty: the core group
	Resource string // plural, as in deployments or pods/log
	Verbs    []string
}

// Verbs returns the rights that a cluster has to give in each namespace that is deployed to, for the kinds that apps usually
// have; deploy/base/deployer.yaml gives exactly these. Other kinds are deployed too, where the cluster gives the rights for them.
func Verbs() []Right {
	applied := []string{"get", "create", "patch", "delete"}                  // Apply (patch; create where it is new), Diff, Prune
	watched := []string{"get", "list", "watch", "create", "patch", "delete"} // and Wait, Status, Verify
	kept := []string{"get", "list", "watch", "create", "patch"}              // and never deleted
	seen := []string{"list", "watch"}                                        // what others make of what we apply
	return []Right{
		{"", "configmaps", applied},
		{"", "secrets", applied},
		{"", "serviceaccounts", applied},
		{"batch", "cronjobs", applied},
		{"autoscaling", "horizontalpodautoscalers", applied},
		{"networking.k8s.io", "networkpolicies", applied},
		{"policy", "poddisruptionbudgets", applied},
		{"", "services", watched},
		{"apps", "deployments", watched},
		{"apps", "statefulsets", watched},
		{"apps", "daemonsets", watched},
		{"batch", "jobs", watched},
		{"networking.k8s.io", "ingresses", watched},
		{"", "persistentvolumeclaims", kept},
		{"", "pods", seen},
		{"apps", "replicasets", seen},
		{"", "events", seen},
		{"", "pods/log", []string{"get"}},
	}
}
