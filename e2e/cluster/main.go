// Command cluster is a one-node Kubernetes for a bare Linux machine, with a real kubelet, in one process tree that leaves nothing behind.
//
// Its subcommands up, down and status are the launcher (package node). The others are etcd and the components of Kubernetes themselves, so
// that a single file is all the launcher has to start.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"shipmate.dev/e2e/cluster/node"
)

const usage = `usage: cluster up --dir DIR [--reach 127.0.0.1:PORT]... [--die-with-parent] [--timeout 3m]
       cluster down --dir DIR
       cluster status --dir DIR
       cluster etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kubelet|kube-proxy [flags]
`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	name := os.Args[1]
	os.Args = append([]string{name}, os.Args[2:]...) // the components read os.Args themselves
	switch name {
	case "up":
		exit(up(os.Args[1:]))
	case "down":
		exit(down(os.Args[1:]))
	case "status":
		exit(status(os.Args[1:]))
	case node.InitCommand:
		exit(node.Init(os.Args[1:]))
	case "etcd":
		exit(etcd(os.Args[1:]))
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllermanager.NewControllerManagerCommand()))
	case "kube-scheduler":
		os.Exit(cli.Run(scheduler.NewSchedulerCommand()))
	case "kubelet":
		os.Exit(cli.Run(kubelet.NewKubeletCommand(context.Background())))
	case "kube-proxy":
		os.Exit(cli.Run(proxy.NewProxyCommand()))
	case "help", "-h", "--help":
		fmt.Print(usage)
	default:
		fmt.Fprintf(os.Stderr, "cluster: unknown command %q\n%s", name, usage)
		os.Exit(2)
	}
}

// usageError is a command line that can't be obeyed.
type usageError struct{ error }

// exit ends the process: 0, 1 for a failure, 2 for a wrong command line. An *exec.ExitError is the end of the cluster's init process, which has
// reported the reason itself.
func exit(err error) {
	var ended *exec.ExitError
	var wrong usageError
	switch {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &wrong):
		fmt.Fprintf(os.Stderr, "cluster: %v\n%s", err, usage)
		os.Exit(2)
	case !errors.As(err, &ended) || ended.ExitCode() < 0:
		fmt.Fprintln(os.Stderr, "cluster:", err)
	}
	os.Exit(1)
}
