package pipeline

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of CheckVariables.
const (
	maxVariables     = 50
	maxVariableBytes = 32 << 10 // of all names and values together
)

// reservedArgument are the build arguments that mean something to BuildKit or are Shipmate's own facts about a build.
var reservedArgument = regexp.MustCompile(`^(?i:BUILDKIT_.*|DOCKERFILE_.*|SOURCE_DATE_EPOCH|(?:HTTP|HTTPS|FTP|NO|ALL)_PROXY|(?:TARGET|BUILD)(?:PLATFORM|OS|ARCH|VARIANT|OSVERSION)|GIT_.*|CI_.*|SHIPMATE_.*)$`)

// CheckVariables checks what a caller of the API gives a build: build arguments, at most 50, of letters, digits and _,
// together at most 32 KiB. Those that BuildKit itself obeys (BUILDKIT_SYNTAX chooses the program that reads the Dockerfile)
// and those that tell a build what it is of (GIT_COMMIT …) are refused. The error says what to write instead; it never
// repeats a value.
func CheckVariables(variables map[string]string) error {
	if len(variables) > maxVariables {
		return fmt.Errorf("there are %d variables; give at most %d", len(variables), maxVariables)
	}
	size := 0
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		size += len(name) + len(variables[name])
		switch {
		case !argumentSyntax.MatchString(name) || len(name) > 100:
			return fmt.Errorf("%q is no variable; write letters, digits and _, at most 100", name)
		case reservedArgument.MatchString(name):
			return fmt.Errorf("the variable %s is set by Shipmate or obeyed by BuildKit itself; choose another name", name)
		case strings.ContainsRune(variables[name], 0) || !utf8.ValidString(variables[name]):
			return fmt.Errorf("the value of the variable %s is no text; give UTF-8 without NUL", name)
		}
	}
	if size > maxVariableBytes {
		return fmt.Errorf("the variables have %d bytes; give at most %d", size, maxVariableBytes)
	}
	return nil
}
