// Package openapi checks requests, answers and webhooks against GitHub's own
// OpenAPI description of its REST API (npm package @octokit/openapi 23, MIT),
// trimmed to the operations that Shipmate uses. The script trim.mjs makes the
// trimmed file and lists the operations.
package openapi

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

//go:embed api.github.com.json
var source []byte

// Description is GitHub's description of its API. It is read-only and safe for
// concurrent use.
type Description struct {
	doc *openapi3.T
}

// GitHub returns the description. It is parsed at the first call, which takes a
// fraction of a second.
var GitHub = sync.OnceValues(func() (*Description, error) {
	doc, err := openapi3.NewLoader().LoadFromData(source)
	if err != nil {
		return nil, fmt.Errorf("load GitHub's OpenAPI description: %w", err)
	}
	return &Description{doc: doc}, nil
})

// A disagreement is a place where GitHub's description contradicts what GitHub
// does, so that a true answer would be called a violation.
type disagreement struct {
	operation string // method and path template
	status    int
	pointer   string // where in the answer, as a JSON pointer with "*" for any index
	instead   string // the component schema that the value there is checked against
	reason    string
}

var disagreements = []disagreement{{
	operation: "GET /app/installations", status: 200, pointer: "/*/account", instead: "simple-user",
	reason: "described as a user and an enterprise at once (allOf); the operation for one installation describes either (anyOf)",
}}

// Operations lists the operations that the description kept here has, sorted,
// such as "GET /repos/{owner}/{repo}".
func (d *Description) Operations() []string {
	var all []string
	for path, item := range d.doc.Paths.Map() {
		for method := range item.Operations() {
			all = append(all, method+" "+path)
		}
	}
	slices.Sort(all)
	return all
}

func (d *Description) find(method, path string) (*openapi3.PathItem, *openapi3.Operation) {
	item := d.doc.Paths.Value(path)
	if item == nil {
		return nil, nil
	}
	return item, item.GetOperation(method)
}

// CheckRequest checks a request for the operation: parameters, body, and that it
// has no query parameter or body property that the operation does not know. The
// request's body is read and put back.
func (d *Description) CheckRequest(r *http.Request, path string, pathParams map[string]string) error {
	item, operation := d.find(r.Method, path)
	if operation == nil {
		return fmt.Errorf("%s %s: no such operation", r.Method, path)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return fmt.Errorf("%s %s: read body: %w", r.Method, path, err)
	}
	check := r.Clone(r.Context())
	check.Body = io.NopCloser(bytes.NewReader(body))
	r.Body = io.NopCloser(bytes.NewReader(body))
	if text := bytes.TrimSpace(body); len(text) == 0 || string(text) == "null" { // GitHub takes null for no body; ghinstallation sends it
		check.Body, check.ContentLength = http.NoBody, 0
	}
	if at, ok := pathParams["path"]; ok && at == "" { // GitHub takes contents/ for the root folder
		pathParams = maps.Clone(pathParams)
		pathParams["path"] = "/"
	}
	err = openapi3filter.ValidateRequest(r.Context(), &openapi3filter.RequestValidationInput{
		Request:    check,
		PathParams: pathParams,
		Route:      &routers.Route{Spec: d.doc, Path: path, PathItem: item, Method: r.Method, Operation: operation},
		Options: &openapi3filter.Options{
			MultiError:          true,
			SkipSettingDefaults: true,
			AuthenticationFunc:  func(context.Context, *openapi3filter.AuthenticationInput) error { return nil },
		},
	})
	return errors.Join(brief(r.Method, path, err), unknownNames(r, item, operation, path, body))
}

// unknownNames finds what GitHub would silently ignore: a misspelt query
// parameter or body property.
func unknownNames(r *http.Request, item *openapi3.PathItem, operation *openapi3.Operation, path string, body []byte) error {
	var unknown []string
	for name := range r.URL.Query() {
		if operation.Parameters.GetByInAndName("query", name) == nil && item.Parameters.GetByInAndName("query", name) == nil {
			unknown = append(unknown, "query parameter "+name)
		}
	}
	var properties map[string]json.RawMessage
	if json.Unmarshal(body, &properties) == nil {
		known := bodyProperties(operation)
		for name := range properties {
			if known != nil && known[name] == nil {
				unknown = append(unknown, "body property "+name)
			}
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	return fmt.Errorf("%s %s: unknown %s", r.Method, path, strings.Join(unknown, ", "))
}

// bodyProperties returns nil where the body's schema lists no properties itself.
func bodyProperties(operation *openapi3.Operation) openapi3.Schemas {
	if operation.RequestBody == nil {
		return nil
	}
	media := operation.RequestBody.Value.Content.Get("application/json")
	if media == nil || media.Schema == nil {
		return nil
	}
	return media.Schema.Value.Properties
}

// CheckAnswer checks an answer. A success must be described; an error that is
// not described for this operation must have GitHub's general form, an object
// with a message.
func (d *Description) CheckAnswer(method, path string, status int, body []byte) error {
	_, operation := d.find(method, path)
	if operation == nil {
		return fmt.Errorf("%s %s: no such operation", method, path)
	}
	response := operation.Responses.Status(status)
	if response == nil && status < 400 {
		return fmt.Errorf("%s %s: answer %d is not described", method, path, status)
	}
	var media *openapi3.MediaType
	if response != nil {
		media = response.Value.Content.Get("application/json")
	}
	if media == nil && status >= 400 {
		var general struct{ Message string }
		if err := json.Unmarshal(body, &general); err != nil || general.Message == "" {
			return fmt.Errorf("%s %s: answer %d has no message: %.200s", method, path, status, body)
		}
		return nil
	}
	if media == nil || media.Schema == nil {
		if len(body) != 0 {
			return fmt.Errorf("%s %s: answer %d is described without a body", method, path, status)
		}
		return nil
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return fmt.Errorf("%s %s: answer %d: %w", method, path, status, err)
	}
	err := media.Schema.Value.VisitJSON(value, openapi3.MultiErrors(), openapi3.VisitAsResponse())
	return brief(method, path+" → "+fmt.Sprint(status), d.except(method+" "+path, status, err))
}

// CheckWebhook checks a webhook's payload; action is empty for an event that has
// none. An event that is not described here is not an error.
func (d *Description) CheckWebhook(event, action string, payload []byte) error {
	name := "webhook-" + strings.ReplaceAll(event, "_", "-")
	if action != "" {
		name += "-" + strings.ReplaceAll(action, "_", "-")
	}
	schema := d.doc.Components.Schemas[name]
	if schema == nil {
		return nil
	}
	var value any
	if err := json.Unmarshal(payload, &value); err != nil {
		return fmt.Errorf("webhook %s %s: %w", event, action, err)
	}
	return brief("webhook "+event, action, schema.Value.VisitJSON(value, openapi3.MultiErrors()))
}

// except drops the errors that disagreements excuse.
func (d *Description) except(operation string, status int, err error) error {
	var kept openapi3.MultiError
	for _, one := range flatten(err) {
		var schema *openapi3.SchemaError
		if errors.As(one, &schema) {
			if instead, ok := excused(operation, status, schema.JSONPointer()); ok {
				one = d.doc.Components.Schemas[instead].Value.VisitJSON(schema.Value, openapi3.MultiErrors())
			}
		}
		if one != nil {
			kept = append(kept, one)
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return kept
}

func excused(operation string, status int, pointer []string) (instead string, ok bool) {
	for _, d := range disagreements {
		want := strings.Split(d.pointer, "/")[1:]
		if d.operation == operation && d.status == status && slices.EqualFunc(want, pointer, func(w, p string) bool { return w == "*" || w == p }) {
			return d.instead, true
		}
	}
	return "", false
}

// brief turns the library's errors, which print whole schemas, into one line
// for each place.
func brief(method, path string, err error) error {
	if err == nil {
		return nil
	}
	var lines []string
	for _, one := range flatten(err) {
		var schema *openapi3.SchemaError
		if errors.As(one, &schema) {
			lines = append(lines, fmt.Sprintf("/%s: %s", strings.Join(schema.JSONPointer(), "/"), schema.Reason))
			continue
		}
		line, _, _ := strings.Cut(one.Error(), "\n")
		lines = append(lines, line)
	}
	return fmt.Errorf("%s %s: %s", method, path, strings.Join(lines, "; "))
}

func flatten(err error) []error {
	if err == nil {
		return nil
	}
	if multi, ok := err.(openapi3.MultiError); ok {
		var all []error
		for _, one := range multi {
			all = append(all, flatten(one)...)
		}
		return all
	}
	var request *openapi3filter.RequestError
	if errors.As(err, &request) && request.Err != nil {
		return flatten(request.Err)
	}
	return []error{err}
}
