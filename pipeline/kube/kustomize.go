package kube

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// kustomization builds the kustomization in dir. What it names is looked at here, before
// kustomize does: whatever is not in the repository is something to fetch there.
func (t *tree) kustomization(ctx context.Context, dir string) ([]file, error) {
	job := renderJob{Dir: dir}
	var seen, read []string // folders; of those in read the files are in the job
	for todo := []string{dir}; len(todo) > 0; {
		dir := todo[0]
		todo = todo[1:]
		if slices.Contains(seen, dir) {
			continue
		}
		seen = append(seen, dir)
		// Kustomize itself reads no file from outside of a kustomization's folder.
		if !slices.ContainsFunc(read, func(r string) bool { return r == "." || strings.HasPrefix(dir, r+"/") }) {
			files, err := t.read(dir, func(name string, d fs.DirEntry) (bool, error) {
				return d.Name() != ".git" && !slices.Contains(read, name), nil
			})
			if err != nil {
				return nil, err
			}
			job.Files, read = append(job.Files, files...), append(read, dir)
		}
		bases, err := t.bases(dir)
		if err != nil {
			return nil, err
		}
		todo = append(todo, bases...)
	}
	return job.confined(ctx)
}

// bases checks the kustomization of a folder, and returns the folders that it builds on.
func (t *tree) bases(dir string) ([]string, error) {
	name, err := t.has(dir, kustomizationFiles...)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, fmt.Errorf("%s: has no kustomization.yaml, and a kustomization builds on it", dir)
	}
	data, err := readManifest(t.root, name)
	if err != nil {
		return nil, err
	}
	var k map[string]any
	if err := yaml.UnmarshalStrict(data, &k); err != nil {
		return nil, fmt.Errorf("%s: %w", name, fileLines(err, 1))
	}
	for _, field := range []string{"helmCharts", "helmGlobals", "helmChartInflationGenerator"} {
		if k[field] != nil {
			return nil, fmt.Errorf("%s: %s is not supported; name the chart's folder under manifests instead", name, field)
		}
	}
	var bases []string
	for _, field := range []string{"resources", "bases", "components", "generators", "transformers", "validators"} {
		entries, _ := k[field].([]any)
		for i, entry := range entries {
			entry, ok := entry.(string)
			if !ok || strings.Contains(entry, "\n") { // YAML in place of a path
				continue
			}
			where := fmt.Sprintf("%s: %s[%d]", name, field, i)
			target := path.Join(dir, entry)
			if path.IsAbs(entry) || !fs.ValidPath(target) {
				return nil, fmt.Errorf("%s: %q leads out of the repository", where, entry)
			}
			info, err := t.root.Stat(target)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil, fmt.Errorf("%s: %q is not in the repository, and nothing is fetched; commit a copy", where, entry)
			case err != nil:
				return nil, fmt.Errorf("%s: %w", where, outside(target, err))
			case info.IsDir():
				if !slices.Contains(bases, target) {
					bases = append(bases, target)
				}
			case isManifest(target):
				// Kustomize names no line.
				if err := t.syntax(target); err != nil {
					return nil, err
				}
			}
		}
	}
	return bases, nil
}

// syntax checks each document of a file of YAML.
func (t *tree) syntax(name string) error {
	data, err := readManifest(t.root, name)
	if err != nil {
		return err
	}
	for i, doc := range splitYAML(data) {
		if _, err := yaml.YAMLToJSONStrict(doc.text); err != nil {
			return fmt.Errorf("%s: document %d (line %d): %w", name, i+1, doc.line, fileLines(err, doc.line))
		}
	}
	return nil
}

// buildKustomization is what the process that renders does. Kustomize's default options
// let nothing run that is not built in, and no file be read from outside of its
// kustomization's folder.
func buildKustomization(dir string, files []file) ([]file, error) {
	disk := filesys.MakeFsInMemory()
	for _, f := range files {
		if err := disk.WriteFile("/"+f.Name, f.Text); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(disk, path.Join("/", dir))
	if err != nil && strings.Contains(err.Error(), "no 'git' program") {
		return nil, fmt.Errorf("%s: builds on something that kustomize takes for an address, and nothing is fetched; commit a copy, in a folder that is not called like a host", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s", dir, strings.ReplaceAll(err.Error(), "'/", "'"))
	}
	text, err := objects.AsYaml()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return []file{{Name: dir, Text: text, Rendered: true}}, nil
}
