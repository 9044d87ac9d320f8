package kube

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestExplain(t *testing.T) {
	deployment := ObjectRef{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "n", Name: "web"}
	secret := ObjectRef{Version: "v1", Kind: "Secret", Namespace: "n", Name: "key"}
	resource := schema.GroupResource{Group: "apps", Resource: "deployments"}
	invalid := func(kind string, errs ...*field.Error) error {
		return apierrors.NewInvalid(schema.GroupKind{Kind: kind}, "web", errs)
	}
	spec := field.NewPath("spec")
	for _, test := range []struct {
		name      string
		ref       ObjectRef
		err       error
		want      string
		temporary bool
	}{
		{"RBAC", deployment, apierrors.NewForbidden(resource, "web", errors.New(`User "system:serviceaccount:x:y" cannot patch resource "deployments" in API group "apps" in the namespace "n"`)),
			"Deployment/web: not allowed to patch deployments.apps in namespace n; grant it to our account; bot doctor lists every verb that is needed", false},
		{"RBAC, core group, whole cluster", secret, apierrors.NewForbidden(schema.GroupResource{Resource: "namespaces"}, "n", errors.New(`User "u" cannot create resource "namespaces" in API group "" at the cluster scope`)),
			"Secret/key: not allowed to create namespaces in the whole cluster; grant it to our account; bot doctor lists every verb that is needed", false},
		{"quota", deployment, apierrors.NewForbidden(resource, "web", errors.New("exceeded quota: small")),
			`Deployment/web: deployments.apps "web" is forbidden: exceeded quota: small; raise the ResourceQuota of the namespace, or ask for less`, false},
		{"policy", deployment, &apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonInvalid, Code: 422, Message: "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: two replicas"}},
			"Deployment/web: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: two replicas; a policy of this cluster refuses it: change the manifests as it says, or ask whoever keeps the policy", false},
		{"policy on a Secret", secret, &apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonInvalid, Code: 422, Message: "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: hunter2"}},
			"Secret/key: the cluster refuses it: the reason may quote its values and is not shown; a policy of this cluster refuses it: change the manifests as it says, or ask whoever keeps the policy", false},
		{"admission webhook", deployment, &apierrors.StatusError{ErrStatus: metav1.Status{Code: 418, Message: `admission webhook "w.example.com" denied the request: no latest`}},
			`Deployment/web: admission webhook "w.example.com" denied the request: no latest; a policy of this cluster refuses it: change the manifests as it says, or ask whoever keeps the policy`, false},
		{"credentials", deployment, apierrors.NewUnauthorized("no"),
			"Deployment/web: the cluster refuses our credentials; renew the token or client certificate of this cluster, then run bot doctor", false},
		{"namespace", deployment, apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "n"),
			"Deployment/web: namespace n does not exist; create it, or name another one for this environment", false},
		{"no such object", deployment, apierrors.NewNotFound(resource, "web"), `Deployment/web: deployments.apps "web" not found`, false},
		{"no such kind", ObjectRef{Group: "example.com", Version: "v1", Kind: "Thing", Name: "a"}, &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "example.com", Kind: "Thing"}},
			"Thing/a: the cluster knows no kind Thing in example.com/v1; is its CustomResourceDefinition installed, and the apiVersion right?", false},
		{"field", deployment, invalid("Deployment", field.Invalid(spec.Child("replicas"), -1, "must be positive")),
			"Deployment/web: spec.replicas: Invalid value: -1: must be positive", false},
		{"many fields", deployment, invalid("Deployment", field.Required(spec.Child("a"), ""), field.Required(spec.Child("b"), ""), field.Required(spec.Child("c"), ""), field.Required(spec.Child("d"), ""), field.Required(spec.Child("e"), "")),
			"Deployment/web: spec.a: Required value; spec.b: Required value; spec.c: Required value; and 2 more", false},
		{"immutable", deployment, invalid("Deployment", field.Invalid(spec.Child("selector"), "x", "field is immutable")),
			`Deployment/web: spec.selector: Invalid value: "x": field is immutable; this field can't change while the object exists: delete the object first, or give it another name`, false},
		{"field of a Secret", secret, invalid("Secret", field.Invalid(field.NewPath("data").Key("a"), "hunter2", "bad")),
			"Secret/key: the cluster refuses it: data[a]: FieldValueInvalid", false},
		{"Secret that can't be read", secret, apierrors.NewBadRequest(`illegal base64 data in "hunter2"`),
			"Secret/key: the cluster refuses it: the reason may quote its values and is not shown", false},
		{"overload", deployment, apierrors.NewTooManyRequests("slow down", 3), "Deployment/web: slow down", true},
		{"restart", deployment, apierrors.NewServiceUnavailable("starting"), "Deployment/web: starting", true},
		{"webhook", deployment, apierrors.NewInternalError(errors.New("failed calling webhook")), "Deployment/web: Internal error occurred: failed calling webhook", true},
		{"no connection", deployment, &url.Error{Op: "Patch", URL: "https://10.0.0.1:6443/apis?x=secret", Err: &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}},
			"cluster 10.0.0.1:6443: the API server does not answer: dial: connection refused; is the address in the cluster's server right, and may we reach it?", true},
		{"certificate", deployment, &url.Error{Op: "Patch", URL: "https://10.0.0.1:6443/apis", Err: errors.New("tls: x509: odd")},
			"cluster 10.0.0.1:6443: the API server's certificate is not accepted: tls: x509: odd; does the CA in the cluster's ca match its certificate?", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := explain("apply", test.ref, test.err)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			if err.Error() != test.want || e.Temporary != test.temporary {
				t.Errorf("got %q, temporary %v\nwant %q", err, e.Temporary, test.want)
			}
		})
	}
	if explain("apply", deployment, nil) != nil {
		t.Error("no error is one")
	}
	if err := explain("apply", deployment, &url.Error{Op: "Patch", URL: "https://a", Err: context.Canceled}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := explain("apply", deployment, apierrors.NewForbidden(resource, "web", errors.New("no"))); !apierrors.IsForbidden(err) {
		t.Errorf("%v hides its cause", err)
	}
}

func TestConflictOf(t *testing.T) {
	ref := ObjectRef{Group: "apps", Version: "v1", Kind: "Deployment", Name: "web"}
	cause := func(manager, field string) metav1.StatusCause {
		return metav1.StatusCause{Type: metav1.CauseTypeFieldManagerConflict, Field: field, Message: `conflict with "` + manager + `" using apps/v1`}
	}
	err := explain("apply", ref, apierrors.NewApplyConflict([]metav1.StatusCause{
		cause("kubectl", ".spec.replicas"), cause("kubectl", ".spec.paused"), cause("helm", ".metadata.labels.app"),
	}, "Apply failed with 3 conflicts"))
	var c *Conflict
	if !errors.As(err, &c) {
		t.Fatalf("got %v", err)
	}
	if c.Object != "Deployment/web" || c.Manager != "kubectl, helm" || strings.Join(c.Fields, " ") != ".spec.replicas .spec.paused .metadata.labels.app" {
		t.Errorf("got %+v", c)
	}
	plain := apierrors.NewConflict(schema.GroupResource{Resource: "deployments"}, "web", errors.New("changed meanwhile"))
	var e *Error
	if err := explain("apply", ref, plain); errors.As(err, &c) || !errors.As(err, &e) || !e.Temporary {
		t.Errorf("a lost race: %v", err)
	}
}

func TestOneLine(t *testing.T) {
	long := "start " + strings.Repeat("é", 1000) + " end"
	got := oneLine("a\n\tb  c\xff")
	if got != "a b c?" {
		t.Errorf("got %q", got)
	}
	if got = oneLine(long); len(got) > maxMessage+len(" … ") || !strings.HasPrefix(got, "start é") || !strings.HasSuffix(got, "é end") || strings.ToValidUTF8(got, "") != got {
		t.Errorf("got %q", got)
	}
}
