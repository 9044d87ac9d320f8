package main

import "testing"

func TestMeasure(t *testing.T) {
	if err := measure(t.Context(), t.TempDir(), size{events: 1000, runs: 500, waiting: 10}, 2); err != nil {
		t.Error(err)
	}
}
