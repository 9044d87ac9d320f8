package pipeline

import (
	"errors"
	"strings"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/image"
)

// inWords adds to a registry's error what it means, and marks one that trying again does not mend. What a Dockerfile's
// own commands say is left as it is, however much it sounds like a registry, but for what FROM names.
func inWords(err error, ref string) error {
	if errors.Is(err, build.ErrUnavailable) || errors.Is(err, build.ErrNoRoom) || isPermanent(err) {
		return err
	}
	var failed *build.Failure
	if errors.As(err, &failed) {
		if base := baseImage(failed.Command); base != "" {
			failed.Err = image.Explain(failed.Err, base)
		}
		return err
	}
	if err = image.Explain(err, ref); image.IsPermanent(err) {
		return permanent{err}
	}
	return err
}

// baseImage is what a FROM line names, or "" where it is no such line, or an argument is in the name.
func baseImage(command string) string {
	words := strings.Fields(command)
	if len(words) == 0 || !strings.EqualFold(words[0], "FROM") {
		return ""
	}
	for _, word := range words[1:] {
		switch {
		case strings.HasPrefix(word, "--"):
		case strings.Contains(word, "$"):
			return ""
		default:
			return word
		}
	}
	return ""
}
