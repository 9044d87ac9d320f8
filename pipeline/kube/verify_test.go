package kube

import "testing"

func TestDesiredPods(t *testing.T) {
	for in, want := range map[string]int{
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {replicas: 3}}":                                                                          3,
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {replicas: 0}}":                                                                          0,
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {}}":                                                                                     1,
		"{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: x}, status: {desiredNumberScheduled: 5}}":                                                           5,
		"{apiVersion: v1, kind: Pod, metadata: {name: x}}":                                                                                                           1,
		"{apiVersion: batch/v1, kind: Job, metadata: {name: x}, spec: {parallelism: 2}}":                                                                             2,
		"{apiVersion: batch/v1, kind: Job, metadata: {name: x}, spec: {parallelism: 2}, status: {conditions: [{type: Complete, status: 'True'}]}}":                   0,
		"{apiVersion: batch/v1, kind: Job, metadata: {name: x}, spec: {parallelism: 2}, status: {conditions: [{type: Failed, status: 'True'}]}}":                     0,
		"{apiVersion: batch/v1, kind: Job, metadata: {name: x}, spec: {parallelism: 2}, status: {conditions: [{type: Suspended}, {type: Failed, status: 'False'}]}}": 2,
	} {
		if got := desiredPods(filled(t, in).one()); got != want {
			t.Errorf("%s: %d, want %d", in, got, want)
		}
	}
}
