// Package node runs a one-node Kubernetes in namespaces of its own.
//
// Up, on the host, starts its own program again as [Init], the first process of new PID, mount, network, IPC and UTS namespaces; etcd, the
// components of Kubernetes, containerd and every container are descendants of it. When Up ends, in whatever way, the kernel kills Init, with
// it all of them, and with the last of them go the mounts, links, routes and iptables rules. Only cgroups have no such owner: Up removes its own, and those
// of a cluster that was killed when the next one comes up.
//
//	host                                    the cluster's namespaces
//	DIR/state ----------------------------- /var/lib
//	DIR/log ------------------------------- /var/log
//	-                                       /run: containerd's and etcd's sockets, keys, the pods' network namespaces
//	127.0.0.1:random (admin.kubeconfig) --> 127.0.0.1:6443, the API server
//	127.0.0.1:PORT (Options.Reach) <------- 127.0.0.1:PORT, for example a registry
//
// Inside, therefore, each program runs at its usual paths and ports, and several clusters can be up at once.
//
// Nothing is kept: a cluster starts empty every time. There is no cluster DNS, and pods have no way out of the cluster.
package node

// The cluster's addresses. They exist in its own network namespace only.
const (
	nodeName    = "node1"
	nodeIP      = "10.240.0.1"
	podCIDR     = "10.244.0.0/24"
	serviceCIDR = "10.96.0.0/16"
	serviceIP   = "10.96.0.1" // of the Service "kubernetes": the first of serviceCIDR
	apiPort     = "6443"
	pauseImage  = "localhost/pause:1"
)
