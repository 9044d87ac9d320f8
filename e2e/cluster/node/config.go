package node

// Paths inside the cluster's mount namespace. /run is its own, /var/lib and /var/log lie in Options.Dir (see [Init]).
const (
	etcdSocket     = "/run/etcd.sock"
	etcdPeerSocket = "/run/etcd-peer.sock"
	configDir      = "/run/kubernetes"
	pkiDir         = configDir + "/pki"
	cniConfigDir   = "/run/cni/net.d"
	cniDir         = "/usr/lib/cni" // where Debian installs the plugins

	path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// containerd's own defaults are right but for these; with registries on loopback it speaks plain HTTP by itself. The opt plugin would make /opt/containerd on the host.
// restrict_oom_score_adj lets pods start also without CAP_SYS_RESOURCE.
const containerdConfig = `version = 2
oom_score = 0
disabled_plugins = ["io.containerd.internal.v1.opt"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "` + pauseImage + `"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "` + cniDir + `"
    conf_dir = "` + cniConfigDir + `"
`

// A pod has a point-to-point link of its own rather than a port of a bridge: its traffic passes iptables also without the br_netfilter module, which we
// would have to load into the host's kernel.
const cniConfig = `{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [
    {
      "type": "ptp",
      "ipam": {
        "type": "host-local",
        "dataDir": "/run/cni/ipam",
        "ranges": [[{"subnet": "` + podCIDR + `"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`

// The cgroupRoot is added when the file is written.
//
// Nobody answers at clusterDNS, so a look-up is refused at once; without one, each pod would get a warning event.
// The kubelet doesn't guard the host's disk: evicting pods there would only hide why a test fails.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: ` + nodeIP + `
readOnlyPort: 0
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: ` + pkiDir + `/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: ` + pkiDir + `/kubelet-server.crt
tlsPrivateKeyFile: ` + pkiDir + `/kubelet-server.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
resolvConf: ""
clusterDomain: cluster.local
clusterDNS: [` + nodeIP + `]
volumePluginDir: /var/lib/kubelet/volume-plugins
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 100Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%}
registryPullQPS: 0 # many tests pull at once
syncFrequency: 10s
nodeStatusUpdateFrequency: 5s
`

var etcdArgs = []string{
	"--data-dir=/var/lib/etcd",
	"--listen-client-socket=" + etcdSocket,
	"--listen-peer-socket=" + etcdPeerSocket,
}

var apiServerArgs = []string{
	"--etcd-servers=unix://" + etcdSocket,
	"--secure-port=" + apiPort,
	"--advertise-address=" + nodeIP,
	"--service-cluster-ip-range=" + serviceCIDR,
	"--tls-cert-file=" + pkiDir + "/apiserver.crt",
	"--tls-private-key-file=" + pkiDir + "/apiserver.key",
	"--client-ca-file=" + pkiDir + "/ca.crt",
	"--anonymous-auth=false",
	"--authorization-mode=Node,RBAC",
	"--allow-privileged=true",
	"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
	"--service-account-key-file=" + pkiDir + "/service-accounts.crt",
	"--service-account-signing-key-file=" + pkiDir + "/service-accounts.key",
	"--kubelet-client-certificate=" + pkiDir + "/kubelet-client.crt",
	"--kubelet-client-key=" + pkiDir + "/kubelet-client.key",
	"--kubelet-certificate-authority=" + pkiDir + "/ca.crt",
	"--kubelet-preferred-address-types=InternalIP",
	"--profiling=false",
}

var controllerManagerArgs = []string{
	"--kubeconfig=" + configDir + "/kube-controller-manager.kubeconfig",
	"--authentication-kubeconfig=" + configDir + "/kube-controller-manager.kubeconfig",
	"--authorization-kubeconfig=" + configDir + "/kube-controller-manager.kubeconfig",
	"--use-service-account-credentials",
	"--service-account-private-key-file=" + pkiDir + "/service-accounts.key",
	"--root-ca-file=" + pkiDir + "/ca.crt",
	"--kube-api-qps=200", // the default of 20 costs four seconds at the start
	"--kube-api-burst=400",
	"--leader-elect=false",
	"--profiling=false",
}

var schedulerArgs = []string{
	"--kubeconfig=" + configDir + "/kube-scheduler.kubeconfig",
	"--authentication-kubeconfig=" + configDir + "/kube-scheduler.kubeconfig",
	"--authorization-kubeconfig=" + configDir + "/kube-scheduler.kubeconfig",
	"--leader-elect=false",
	"--profiling=false",
}

var kubeletArgs = []string{
	"--config=" + configDir + "/kubelet.yaml",
	"--kubeconfig=" + configDir + "/kubelet.kubeconfig",
	"--hostname-override=" + nodeName,
	"--node-ip=" + nodeIP,
}

// The conntrack flags keep kube-proxy from changing the host's connection tracking, which has no namespace.
var proxyArgs = []string{
	"--kubeconfig=" + configDir + "/kube-proxy.kubeconfig",
	"--hostname-override=" + nodeName,
	"--proxy-mode=iptables",
	"--cluster-cidr=" + podCIDR,
	"--conntrack-max-per-core=0",
	"--conntrack-tcp-timeout-established=0",
	"--conntrack-tcp-timeout-close-wait=0",
	"--iptables-localhost-nodeports=false",
}
