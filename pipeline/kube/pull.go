package kube

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// EnsurePullSecret makes the Secret name in namespace hold the credentials for
// pulling from host (Kubernetes documentation, "Pull an Image from a Private
// Registry"). Those for other hosts that it holds already stay: environments may
// share it. A Secret of that name that was not made here is left alone and is an
// error, also one that manifests brought.
func (c *Cluster) EnsurePullSecret(ctx context.Context, namespace, name, host, username, password string) error {
	ref := ObjectRef{Version: "v1", Kind: "Secret", Namespace: namespace, Name: name}
	live, err := c.get(ctx, ref)
	if err != nil {
		return err
	}
	var config struct {
		Auths map[string]any `json:"auths"`
	}
	var has []byte
	if live != nil {
		if labels := live.GetLabels(); labels[LabelManagedBy] != FieldManager || labels[LabelApp] != "" {
			return &Error{Object: ref.String(), Message: "exists in namespace " + namespace + " and was not made by us",
				Hint: "delete it, or choose another name for pull_secret"}
		}
		text, _, _ := unstructured.NestedString(live.Object, "data", corev1.DockerConfigJsonKey)
		if has, err = base64.StdEncoding.DecodeString(text); err == nil {
			_ = json.Unmarshal(has, &config) // what somebody broke is made anew
		}
	}
	if config.Auths == nil {
		config.Auths = map[string]any{}
	}
	server := host
	if host == "docker.io" || host == "index.docker.io" {
		server = "https://index.docker.io/v1/"
	}
	config.Auths[server] = map[string]string{
		"username": username,
		"password": password,
		"auth":     base64.StdEncoding.EncodeToString([]byte(username + ":" + password)),
	}
	data, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("pull secret %s: %w", name, err)
	}
	if bytes.Equal(has, data) {
		return nil
	}
	secret := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1",
		"kind":       "Secret",
		"metadata": map[string]any{
			"name":      name,
			"namespace": namespace,
			"labels":    map[string]any{LabelManagedBy: FieldManager},
		},
		"type": string(corev1.SecretTypeDockerConfigJson),
		"data": map[string]any{corev1.DockerConfigJsonKey: base64.StdEncoding.EncodeToString(data)},
	}}
	if live == nil {
		r, err := c.resource(ctx, c.client, ref)
		if err != nil {
			return err
		}
		_, err = r.Create(ctx, secret, metav1.CreateOptions{FieldManager: FieldManager})
		if apierrors.IsAlreadyExists(err) { // by another deployment, just now
			return c.EnsurePullSecret(ctx, namespace, name, host, username, password)
		}
		return explain("create", ref, err)
	}
	secret.SetResourceVersion(live.GetResourceVersion()) // what another deployment adds meanwhile is not lost: that is tried again
	_, err = c.patch(ctx, secret, true, false)           // who changed by hand what is ours does not own it
	return err
}
