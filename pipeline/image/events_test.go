package image

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

const eventDigest = "sha256:9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0"

// TestPushes reads testdata/events: what each registry's documentation shows that it sends.
func TestPushes(t *testing.T) {
	v1 := Push{Path: "public/nginx", Tag: "v1.10.0", Digest: eventDigest, Pusher: "332133xxxx", At: time.Unix(1589106605, 0)}
	for _, tt := range []struct {
		file, format string
		edit         []string // old, new
		want         []Push
	}{
		{"tcr.json", EventsTCR, nil, []Push{v1}},
		{"tcr.json", EventsHarbor, nil, []Push{v1}}, // Harbor 1 has the same body
		{"tcr.json", EventsTCR, []string{"pushImage", "deleteImage"}, nil},
		{"tcr.json", EventsTCR, []string{"pushImage", "pullImage"}, nil},
		{"tcr.json", EventsTCR, []string{"pushImage", "uploadChart"}, nil},
		{"tcr.json", EventsTCR, []string{`"repo_full_name": "public/nginx",`, ""}, []Push{v1}},
		{"tcr.json", EventsTCR, []string{`"tag": "v1.10.0"`, `"tag": ""`}, nil},
		{"tcr.json", EventsTCR, []string{`"operator": "332133xxxx"`, `"operator": "<a> @alice\n"`}, []Push{{Path: "public/nginx", Tag: "v1.10.0", Digest: eventDigest, Pusher: "_a___alice_", At: time.Unix(1589106605, 0)}}},
		{"harbor.json", EventsHarbor, nil, []Push{{Path: "library/debian", Tag: "v1", Digest: eventDigest, Pusher: "robot$ci", At: time.Unix(1680501893, 0)}}},
		{"harbor.json", EventsHarbor, []string{`"tag": "v1"`, `"tag": "` + eventDigest + `"`}, nil}, // no tag
		{"harbor.json", EventsHarbor, []string{`"tag": "v1"`, `"tag": "` + strings.Replace(eventDigest, ":", "-", 1) + `.sig"`}, nil},
		{"harbor.json", EventsHarbor, []string{"PUSH_ARTIFACT", "DELETE_ARTIFACT"}, nil},
		{"harbor.json", EventsHarbor, []string{"PUSH_ARTIFACT", "SCANNING_COMPLETED"}, nil},
		{"harbor_cloudevents.json", EventsHarbor, nil, []Push{{Path: "library/debian", Tag: "v1", Digest: eventDigest, Pusher: "admin", At: time.Date(2023, 4, 3, 6, 4, 53, 0, time.UTC)}}},
		{"harbor_cloudevents.json", EventsHarbor, []string{"artifact.pushed", "artifact.pulled"}, nil},
		{"distribution.json", EventsDistribution, nil, []Push{ // of five events: a layer, a pull, a deletion, two manifests of which one has no tag
			{Path: "hello-world", Tag: "latest", Digest: eventDigest, Pusher: "ci", At: time.Date(2015, 3, 9, 14, 44, 26, 402973972, time.UTC)}}},
		{"dockerhub.json", EventsDockerHub, nil, []Push{{Path: "svendowideit/testhook", Tag: "v1", Pusher: "trustedbuilder", At: time.Unix(1417566161, 0)}}},
		{"dockerhub.json", EventsDockerHub, []string{`"repo_name": "svendowideit/testhook",`, ""}, []Push{{Path: "svendowideit/testhook", Tag: "v1", Pusher: "trustedbuilder", At: time.Unix(1417566161, 0)}}},
		{"ghcr.json", EventsGHCR, nil, []Push{{Host: "ghcr.io", Path: "acme/base", Tag: "v1", Digest: eventDigest, Pusher: "alice"}}},
		{"ghcr.json", EventsGHCR, []string{`"registry_package"`, `"package"`}, []Push{{Host: "ghcr.io", Path: "acme/base", Tag: "v1", Digest: eventDigest, Pusher: "alice"}}},
		{"ghcr.json", EventsGHCR, []string{`"name": "v1"`, `"name": ""`}, nil},
		{"ghcr.json", EventsGHCR, []string{"published", "deleted"}, nil},
		{"ghcr.json", EventsGHCR, []string{"CONTAINER", "npm"}, nil},
	} {
		name := tt.file + " as " + tt.format + " " + strings.Join(tt.edit, " to ")
		body, err := os.ReadFile("testdata/events/" + tt.file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(body)
		if tt.edit != nil {
			if text = strings.ReplaceAll(text, tt.edit[0], tt.edit[1]); text == string(body) {
				t.Errorf("%s: the file has no %q", name, tt.edit[0])
			}
		}
		got, err := Pushes(tt.format, []byte(text))
		if err != nil || len(got) != len(tt.want) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, tt.want)
			continue
		}
		for i := range got {
			if !got[i].At.Equal(tt.want[i].At) {
				t.Errorf("%s: at %s, want %s", name, got[i].At, tt.want[i].At)
			}
			if got[i].At = tt.want[i].At; !reflect.DeepEqual(got[i], tt.want[i]) {
				t.Errorf("%s: got %+v, want %+v", name, got[i], tt.want[i])
			}
		}
	}
}

func TestPushesRefused(t *testing.T) {
	tcr := `{"type":"pushImage","event_data":{"resources":[{"digest":%q,"tag":%q}],"repository":{"repo_full_name":%q}}}`
	for _, tt := range []struct{ format, body, want string }{
		{"quay", `{}`, `no registry events of the kind "quay"`},
		{EventsTCR, ``, "no event of tcr: it is no JSON object"},
		{EventsTCR, `[]`, "no JSON object"},
		{EventsTCR, `{"type":`, "unexpected end"},
		{EventsTCR, `{}{}`, "after top-level value"},
		{EventsTCR, `{"type":1}`, "cannot unmarshal"},
		{EventsTCR, `{"events":[]}`, `it has no "type"`},
		{EventsTCR, `{"type":"pushImage"}`, "has no data"},
		{EventsHarbor, `{"specversion":"1.0","type":"harbor.artifact.pushed","event_data":{}}`, "has no data"},
		{EventsTCR, fmt.Sprintf(tcr, eventDigest, "v1", "team/../web"), `"team/../web" is no repository`},
		{EventsTCR, fmt.Sprintf(tcr, eventDigest, "v1", "Team/web"), "is no repository"},
		{EventsTCR, fmt.Sprintf(tcr, eventDigest, "v1", ""), "is no repository"},
		{EventsTCR, fmt.Sprintf(tcr, eventDigest, "v1", strings.Repeat("a", 256)), "is no repository"},
		{EventsTCR, fmt.Sprintf(tcr, eventDigest, "v 1", "team/web"), `"v 1" is no tag`},
		{EventsTCR, fmt.Sprintf(tcr, "sha256:00", "v1", "team/web"), `"sha256:00" is no digest`},
		{EventsDistribution, `{"type":"pushImage"}`, `no "events"`},
		{EventsDockerHub, `{"events":[]}`, `no "push_data"`},
		{EventsGHCR, `{"action":"published"}`, "no package"},
		{EventsGHCR, `{"action":"published","package":{"package_type":"container","package_version":{"container_metadata":{"tag":{"name":"v1"}}}}}`, "names no registry"},
	} {
		if got, err := Pushes(tt.format, []byte(tt.body)); err == nil || !strings.Contains(err.Error(), tt.want) || got != nil {
			t.Errorf("%s %s: got %v, %v, want %s", tt.format, tt.body, got, err, tt.want)
		}
	}
}

// FuzzPushes: what comes out names an image, and can be stored and shown.
func FuzzPushes(f *testing.F) {
	formats := []string{EventsTCR, EventsHarbor, EventsDistribution, EventsDockerHub, EventsGHCR}
	files, err := os.ReadDir("testdata/events")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		body, err := os.ReadFile("testdata/events/" + file.Name())
		if err != nil {
			f.Fatal(err)
		}
		for i := range formats {
			f.Add(uint8(i), body)
		}
	}
	f.Add(uint8(3), []byte(`{"push_data":{"pushed_at":1e300,"tag":"v1","pusher":"\ud800"},"repository":{"repo_name":"a/b"}}`))
	f.Fuzz(func(t *testing.T, format uint8, body []byte) {
		pushes, err := Pushes(formats[int(format)%len(formats)], body)
		if err != nil && pushes != nil {
			t.Errorf("%v and %v", pushes, err)
		}
		for _, p := range pushes {
			if _, err := New(nil).parse("r.example.com/" + p.Path + ":" + p.Tag); err != nil {
				t.Errorf("%+v: %v", p, err)
			}
			if strings.ContainsAny(p.Pusher, "@<>`*\n ") {
				t.Errorf("pusher %q", p.Pusher)
			}
			if _, err := json.Marshal(p); err != nil {
				t.Errorf("%+v: %v", p, err)
			}
		}
	})
}
