package strictyaml

import "strings"

// Nearest returns the one of known that name was most likely meant to be, or "" when none is near: at most a third of
// its letters may differ. Case does not count; of equally near ones the first is taken.
func Nearest(name string, known []string) string {
	best, bestDistance := "", 1+max(1, min(len(name), 40)/3)
	for _, k := range known {
		if len(name)-len(k) >= bestDistance || len(k)-len(name) >= bestDistance {
			continue
		}
		if distance := editDistance(strings.ToLower(name), strings.ToLower(k)); distance < bestDistance {
			best, bestDistance = k, distance
		}
	}
	return best
}

// DidYouMean is the end of an error text about an unknown name: the nearest known one, or all of them. noun is their
// plural, as in "keys".
func DidYouMean(name, noun string, known []string) string {
	if near := Nearest(name, known); near != "" {
		return "did you mean " + near + "?"
	}
	if len(known) == 0 {
		return "there are no " + noun + " here"
	}
	return "known " + noun + ": " + strings.Join(known, ", ")
}

// editDistance counts the bytes to insert, delete, replace or swap with their neighbour (optimal string alignment).
func editDistance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
