package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	fstypes "github.com/tonistiigi/fsutil/types"
)

// dirTree is a folder as the builder would show it.
type dirTree struct {
	dir string
	cut bool // files are shorter than their entries say
}

func (d dirTree) stat(_ context.Context, name string) (*fstypes.Stat, error) {
	info, err := os.Stat(filepath.Join(d.dir, name))
	if err != nil {
		return nil, err
	}
	return &fstypes.Stat{Path: info.Name(), Mode: uint32(info.Mode()), Size: info.Size()}, nil
}

func (d dirTree) readDir(_ context.Context, name string) (all []*fstypes.Stat, err error) {
	entries, err := os.ReadDir(filepath.Join(d.dir, name))
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		all = append(all, &fstypes.Stat{Path: e.Name(), Mode: uint32(info.Mode()), Size: info.Size()})
	}
	return all, err
}

func (d dirTree) readFile(_ context.Context, name string, offset, length int) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil || d.cut && offset > 0 {
		return nil, err
	}
	return data[offset:min(len(data), offset+length)], nil
}

func TestReadOutputs(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 160<<10) // 2.5 MiB, in three pieces
	dir := checkout(t, map[string]string{"report.xml": "<testsuite/>", "out/a": "a", "out/deep/b": large, "out/link@": "/etc/passwd", "up@": "..", "empty": ""})
	limit := func() *Limit { return NewLimit(4<<20, 10) }
	tests := map[string]struct {
		paths []string
		limit *Limit
		cut   bool
		files string
		left  string
	}{
		"a file":              {paths: []string{"report.xml"}, files: "report.xml:12"},
		"an empty one":        {paths: []string{"./empty"}, files: "empty:0"},
		"a folder":            {paths: []string{"out/"}, files: "out/a:1 out/deep/b:2621440", left: "out/link: a symbolic link"},
		"all":                 {paths: []string{"."}, files: "empty:0 out/a:1 out/deep/b:2621440 report.xml:12", left: "out/link: a symbolic link, up: a symbolic link"},
		"one inside another":  {paths: []string{"out/deep", "out"}, files: "out/deep/b:2621440 out/a:1", left: "out/link: a symbolic link"},
		"not there":           {paths: []string{"none", "out/none", "none/none"}, left: "none: not found, out/none: not found, none/none: not found"},
		"through a link":      {paths: []string{"up/secret", "out/link"}, left: "up/secret: a symbolic link, out/link: a symbolic link"},
		"through a file":      {paths: []string{"report.xml/x"}, left: "report.xml/x: not found"},
		"too many bytes":      {paths: []string{"out", "report.xml"}, limit: NewLimit(20, 10), files: "out/a:1 report.xml:12", left: "out/deep/b: 2.6 MB are too much for what may be kept, out/link: a symbolic link"},
		"too many files":      {paths: []string{"out", "report.xml"}, limit: NewLimit(4<<20, 1), files: "out/a:1", left: "out/deep/b: 2.6 MB are too much for what may be kept, out/link: a symbolic link, report.xml: 0.0 kB are too much for what may be kept"},
		"shorter than it was": {paths: []string{"out/deep/b"}, cut: true, files: "out/deep/b:1048576", left: "out/deep/b: it can't be read to its end"},
	}
	for name, tt := range tests {
		if tt.limit == nil {
			tt.limit = limit()
		}
		to := t.TempDir()
		var outputs []Output
		for _, p := range tt.paths {
			outputs = append(outputs, Output{Path: p, Dir: to, Limit: tt.limit})
		}
		files, left, err := readOutputs(t.Context(), dirTree{dir, tt.cut}, outputs)
		var gotFiles, gotLeft []string
		for _, f := range files {
			gotFiles = append(gotFiles, fmt.Sprintf("%s:%d", f.Path, f.Size))
			data, err := os.ReadFile(filepath.Join(to, f.Path))
			want, _ := os.ReadFile(filepath.Join(dir, f.Path))
			if err != nil || !tt.cut && string(data) != string(want) {
				t.Errorf("%s: %s has other content (%v)", name, f.Path, err)
			}
		}
		for _, l := range left {
			gotLeft = append(gotLeft, l.Path+": "+l.Why)
		}
		if err != nil || strings.Join(gotFiles, " ") != tt.files || strings.Join(gotLeft, ", ") != tt.left {
			t.Errorf("%s: %v\nfiles %v, want %s\nleft  %v, want %s", name, err, gotFiles, tt.files, gotLeft, tt.left)
		}
	}
	if _, _, err := readOutputs(t.Context(), dirTree{dir, false}, []Output{{Path: "../x", Dir: t.TempDir(), Limit: limit()}}); err == nil {
		t.Error("a path that leads out was read")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := readOutputs(ctx, dirTree{dir, false}, []Output{{Path: "out", Dir: t.TempDir(), Limit: limit()}}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// What is left out is named up to a number: a folder may hold any number of links.
func TestReadOutputsNamesSome(t *testing.T) {
	dir := t.TempDir()
	for i := range 50 {
		if err := os.Symlink("x", filepath.Join(dir, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	_, left, err := readOutputs(t.Context(), dirTree{dir, false}, []Output{{Path: ".", Dir: t.TempDir(), Limit: NewLimit(1, 1)}})
	if err != nil || len(left) != 21 || left[20].Why != "and 30 more" {
		t.Errorf("%v, %v", left, err)
	}
}

// A command is given the checkout, and neither secrets nor rights that the builder's default does not give.
func TestCommandRequest(t *testing.T) {
	r := Request{Dir: checkout(t, map[string]string{"a": "b"}), Secrets: map[string][]byte{"token": []byte("x")}, Args: map[string]string{"A": "b"},
		Command: &Command{Image: "golang:1.26", Run: "go vet ./...\ngo test"}}
	s, err := newSolve(r)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if len(s.options.LocalMounts) != 1 || s.options.LocalMounts[sourceMount] == nil || len(s.options.Session) != 1 || s.options.Frontend != "" || len(s.options.Exports)+len(s.options.AllowedEntitlements) > 0 {
		t.Errorf("%+v", s.options)
	}
	definition, err := commandState(*r.Command, llb.Scratch()).Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	runs := 0
	for _, raw := range definition.ToPB().Def {
		var op pb.Op
		if err := op.UnmarshalVT(raw); err != nil {
			t.Fatal(err)
		}
		exec := op.GetExec()
		if exec == nil {
			continue
		}
		runs++
		if exec.Network != pb.NetMode_UNSET || exec.Security != pb.SecurityMode_SANDBOX || len(exec.Secretenv)+len(exec.CdiDevices) > 0 || exec.Meta.Cwd != "/src" || exec.Meta.User != "0" ||
			!reflect.DeepEqual(exec.Meta.Args, []string{"/bin/sh", "-ec", r.Command.Run}) {
			t.Errorf("%+v", exec)
		}
		for _, m := range exec.Mounts {
			if m.MountType != pb.MountType_BIND || m.Dest != "/" && m.Dest != path.Clean(sourceDir) {
				t.Errorf("mount %+v", m)
			}
		}
	}
	if runs != 1 {
		t.Errorf("%d commands", runs)
	}
	if _, err := newSolve(Request{Dir: r.Dir, Image: "r.example.com/x", Outputs: []Output{{}}}); err == nil {
		t.Error("outputs of a build that is pushed")
	}
}
