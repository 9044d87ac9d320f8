package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A mix is how many objects of each kind are deployed.
type mix struct{ deployments, services, configMaps, accounts, secrets int }

func (m mix) objects() int { return m.deployments + m.services + m.configMaps + m.accounts + m.secrets }

var mixes = []mix{{deployments: 1}, {2, 2, 4, 1, 1}, {10, 10, 20, 5, 5}}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web-%[1]d, labels: {bench: deploy}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web-%[1]d}}
  template:
    metadata: {labels: {app: web-%[1]d}}
    spec:
      terminationGracePeriodSeconds: 1
      automountServiceAccountToken: false
      containers:
        - name: web
          image: %[2]s
          env: [{name: VERSION, value: "%[3]d"}]
          ports: [{containerPort: 5000}]
          readinessProbe: {httpGet: {path: /, port: 5000}, periodSeconds: 1, timeoutSeconds: 5}
          resources: {requests: {cpu: 1m, memory: 1Mi}}
---
`

// manifests are the mix's objects in one version, in the order in which Helm and kustomize write them: a higher one changes
// every Deployment, ConfigMap and Secret.
func (m mix) manifests(image string, version int) string {
	var all strings.Builder
	for i := range m.configMaps {
		fmt.Fprintf(&all, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config-%d}\ndata: {version: \"%d\", text: %q}\n---\n", i, version, strings.Repeat("a line of a file\n", 20))
	}
	for i := range m.accounts {
		fmt.Fprintf(&all, "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: account-%d}\n---\n", i)
	}
	for i := range m.secrets {
		fmt.Fprintf(&all, "apiVersion: v1\nkind: Secret\nmetadata: {name: secret-%d}\nstringData: {key: \"value %d\"}\n---\n", i, version)
	}
	for i := range m.services {
		fmt.Fprintf(&all, "apiVersion: v1\nkind: Service\nmetadata: {name: web-%[1]d}\nspec: {selector: {app: web-%[1]d}, ports: [{port: 80, targetPort: 5000}]}\n---\n", i)
	}
	for i := range m.deployments {
		fmt.Fprintf(&all, deployment, i, image, version)
	}
	return all.String()
}

// write puts manifests into a folder of their own and returns that.
func (b *bench) write(name, manifests string) (string, error) {
	dir := filepath.Join(b.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(manifests), 0o600)
}
