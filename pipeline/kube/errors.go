package kube

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Error is a request that the cluster refused or did not answer.
type Error struct {
	Object    string // as in Deployment/web
	Message   string // what went wrong, one line
	Hint      string // what to do about it; may be empty
	Temporary bool   // the same request may succeed later: no connection, overload, restart
	Away      bool   // Temporary, since the API server itself could not be reached
	Err       error  // as client-go returned it
}

// Error is one line: object, message and hint.
func (e *Error) Error() string {
	s := e.Object + ": " + e.Message
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Conflict is an apply that was refused because another field manager owns some
// of the fields, or because the whole object is another app's.
type Conflict struct {
	Object  string   // as in Deployment/web
	Fields  []string // as in .spec.replicas; empty: the whole object
	Manager string   // who owns them; several are separated by a comma
}

// Error names the fields, their owner and the ways out.
func (e *Conflict) Error() string {
	if len(e.Fields) == 0 {
		return fmt.Sprintf("%s belongs to %s; rename it in the manifests", e.Object, e.Manager)
	}
	return fmt.Sprintf("%s: %s owned by %q; leave them out of the manifest, take them over (/deploy env adopt), or set conflicts: force for this environment",
		e.Object, strings.Join(e.Fields, ", "), e.Manager)
}

// ClusterScoped is an object that was taken for one of a namespace, and its kind is one of the whole cluster.
type ClusterScoped struct {
	Object string // as in Widget/web
	Kind   string
}

// Error says what to do about it.
func (e *ClusterScoped) Error() string {
	return e.Object + " is not of a namespace but of the whole cluster; take it out of the manifests"
}

var (
	// The API server's authorizer words its refusals so (apiserver,
	// endpoints/handlers/responsewriters/errors.go).
	rbacRefusal = regexp.MustCompile(`cannot (\S+) resource "([^"]+)" in API group "([^"]*)"(?: in the namespace "([^"]+)")?`)
	// Server-side apply words its conflicts so (apimachinery, managedfields/internal/conflict.go).
	conflictManager = regexp.MustCompile(`conflict with "([^"]+)"`)
)

// explain turns what client-go returned for ref into an error that says what to do.
func explain(verb string, ref ObjectRef, err error) error {
	if err == nil {
		return nil
	}
	if outOfTime(err) {
		return fmt.Errorf("%s %s: %w", verb, ref, err)
	}
	if c := conflictOf(ref, err); c != nil {
		return c
	}
	e := &Error{Object: ref.String(), Message: oneLine(err.Error()), Err: err}
	var status apierrors.APIStatus
	switch {
	case meta.IsNoMatchError(err):
		e.Message = fmt.Sprintf("the cluster knows no kind %s in %s", ref.Kind, ref.gvk().GroupVersion())
		e.Hint = "is its CustomResourceDefinition installed, and the apiVersion right?"
	case errors.As(err, &status):
		explainStatus(e, ref, err, status.Status())
	default:
		explainTransport(e, err)
	}
	return e
}

func explainStatus(e *Error, ref ObjectRef, err error, s metav1.Status) {
	secret := ref.Group == "" && ref.Kind == "Secret"
	if secret && (apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsInternalError(err)) {
		// Such an answer may quote the value that it refuses, and so may every error
		// that wraps it.
		e.Message, e.Hint, e.Err = "the cluster refuses it: "+causes(s, false), admissionHint(s.Message), nil
		return
	}
	switch {
	case apierrors.IsUnauthorized(err):
		e.Message = "the cluster refuses our credentials"
		e.Hint = "renew the token or client certificate of this cluster, then run bot doctor"
	case apierrors.IsForbidden(err):
		explainForbidden(e)
	case apierrors.IsNotFound(err) && s.Details != nil && s.Details.Kind == "namespaces" && ref.Kind != "Namespace":
		e.Message = fmt.Sprintf("namespace %s does not exist", s.Details.Name)
		e.Hint = "create it, or name another one for this environment"
	case apierrors.IsNotFound(err) && s.Details != nil && isRole(s.Details) && strings.HasSuffix(ref.Kind, "RoleBinding"):
		e.Message = fmt.Sprintf("the role %s does not exist", s.Details.Name)
		e.Hint = "write it into the manifests, or correct roleRef"
	case apierrors.IsInvalid(err):
		e.Message = causes(s, true)
		if strings.Contains(s.Message, "immutable") || strings.Contains(s.Message, "updates to statefulset spec") {
			e.Hint = "this field can't change while the object exists: delete the object first, or give it another name"
		}
	case apierrors.IsBadRequest(err):
		e.Hint = "is every field spelled as the API has it?"
	case apierrors.IsTooManyRequests(err), apierrors.IsServiceUnavailable(err), apierrors.IsTimeout(err),
		apierrors.IsServerTimeout(err), apierrors.IsInternalError(err), apierrors.IsConflict(err):
		e.Temporary = true
	}
	if hint := admissionHint(s.Message); hint != "" { // a webhook answers with whatever code it likes
		e.Hint = hint
	}
}

func explainForbidden(e *Error) {
	m := rbacRefusal.FindStringSubmatch(e.Message)
	switch {
	case m != nil:
		resource, where := m[2], "in the whole cluster"
		if m[3] != "" {
			resource += "." + m[3]
		}
		if m[4] != "" {
			where = "in namespace " + m[4]
		}
		e.Message = fmt.Sprintf("not allowed to %s %s %s", m[1], resource, where)
		e.Hint = "grant it to our account; bot doctor lists every verb that is needed"
	case strings.Contains(e.Message, "is being terminated"):
		e.Hint, e.Temporary = "the namespace is being deleted; wait until it is gone", true
	}
}

// explainTransport explains a request that got no answer.
func explainTransport(e *Error, err error) {
	var no *refusal
	if errors.As(err, &no) {
		no.explain(e)
		return
	}
	e.Temporary = true
	var away *unreachable
	var u *url.Error
	if !errors.As(err, &away) {
		if !errors.As(err, &u) {
			return
		}
		away = &unreachable{where: placeOf(Config{}, u.URL), err: u.Err}
	}
	away.explain(e)
}

// conflictOf returns the conflict that err reports, or nil.
func conflictOf(ref ObjectRef, err error) *Conflict {
	var status apierrors.APIStatus
	if !apierrors.IsConflict(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	c := &Conflict{Object: ref.String()}
	var managers []string
	for _, cause := range status.Status().Details.Causes {
		if cause.Type != metav1.CauseTypeFieldManagerConflict {
			continue
		}
		c.Fields = append(c.Fields, cause.Field)
		if m := conflictManager.FindStringSubmatch(cause.Message); m != nil && !slices.Contains(managers, m[1]) {
			managers = append(managers, m[1])
		}
	}
	if len(c.Fields) == 0 {
		return nil
	}
	c.Manager = strings.Join(managers, ", ")
	return c
}

// causes lists the fields that the API server refused; with their messages, which
// may quote values, only where that does no harm.
func causes(s metav1.Status, quote bool) string {
	if s.Details == nil || len(s.Details.Causes) == 0 {
		if !quote {
			return "the reason may quote its values and is not shown"
		}
		return oneLine(s.Message)
	}
	const most = 3
	var parts []string
	for i, cause := range s.Details.Causes {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more", len(s.Details.Causes)-most))
			break
		}
		text := string(cause.Type)
		if quote {
			text = oneLine(cause.Message)
		}
		if cause.Field == "" {
			parts = append(parts, text)
			continue
		}
		parts = append(parts, cause.Field+": "+text)
	}
	return strings.Join(parts, "; ")
}

// maxMessage bounds a message of the cluster, in bytes: a refused pod template is
// quoted whole in some of them.
const maxMessage = 400

// oneLine makes s a single line of bounded length.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if len(s) <= maxMessage {
		return s
	}
	// The end of such a message says what is wrong with the value that precedes it.
	head, tail := s[:maxMessage/2], s[len(s)-maxMessage/2:]
	return strings.ToValidUTF8(head, "") + " … " + strings.ToValidUTF8(tail, "")
}
