package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Within returns the real path of rel, a path that a repository's file names, inside the checkout root. Symbolic links
// are followed as long as they stay inside. It is an error when rel is absolute, does not exist or leads out of root.
// "" means root itself.
func Within(root, rel string) (string, error) {
	if rel == "" {
		rel = "."
	}
	if !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%q leads out of the repository; write a path relative to its root", rel)
	}
	confined, err := os.OpenRoot(root)
	if err != nil {
		return "", err
	}
	defer confined.Close()
	// Stat first: it fails on a link that leads out without looking at what is there.
	if _, err := confined.Stat(rel); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%q: %w in the repository at this commit", rel, fs.ErrNotExist)
	} else if err != nil {
		return "", fmt.Errorf("%q can't be used; it must be inside the repository, through links too: %w", rel, err)
	}
	return filepath.EvalSymlinks(filepath.Join(root, rel))
}
