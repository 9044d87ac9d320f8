package web

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestMemo: what is known is taken, one of many reads it anew, and nobody gets what is too old.
func TestMemo(t *testing.T) {
	m := memo[string, int]{ttl: time.Hour}
	reads := 0
	get := func(fresh bool) int {
		t.Helper()
		v, err := m.get("a", fresh, func(old int) (int, error) { reads++; return old + 1, nil })
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	// aged has what is known be so old.
	aged := func(age time.Duration) { m.known["a"].at = time.Now().Add(-age) }
	if got := []int{get(false), get(false), get(true), get(false)}; !slices.Equal(got, []int{1, 1, 2, 2}) || reads != 2 {
		t.Errorf("%d reads, %v, %+v", reads, got, m.known["a"])
	}
	// Once half of the time is over the first reads it, and whoever comes meanwhile takes what there is.
	aged(40 * time.Minute)
	began, goOn, done := make(chan struct{}), make(chan struct{}), make(chan int)
	slow := func(old int) (int, error) { close(began); <-goOn; return old + 1, nil }
	go func() { v, _ := m.get("a", false, slow); done <- v }()
	<-began
	if get(false) != 2 || reads != 2 {
		t.Error("somebody else read it too")
	}
	close(goOn)
	if <-done != 3 || get(false) != 3 {
		t.Error("what was read is not taken")
	}
	// Beyond the time everybody waits, and one reads.
	aged(2 * time.Hour)
	began, goOn = make(chan struct{}), make(chan struct{})
	go func() { v, _ := m.get("a", false, slow); done <- v }()
	<-began
	waits := make(chan int)
	go func() { waits <- get(false) }()
	select {
	case v := <-waits:
		t.Errorf("%d, which is too old, was given", v)
	case <-time.After(50 * time.Millisecond): // a wait that is too short hides a fault, and shows none that is not there
	}
	close(goOn)
	if <-done != 4 || <-waits != 4 {
		t.Error("who waited did not get what was read")
	}
	// What could not be read is not kept, nor does it take away what is known.
	broken := errors.New("broken")
	if _, err := m.get("a", true, func(int) (int, error) { return 9, broken }); !errors.Is(err, broken) || get(false) != 4 {
		t.Errorf("%v", err)
	}
	// What is old makes room.
	aged(2 * time.Hour)
	for i := range 2 * maxMemos {
		_, _ = m.get(fmt.Sprint(i), false, func(int) (int, error) { return 0, broken })
	}
	if len(m.known) > maxMemos || m.known["a"] != nil {
		t.Errorf("%d are kept", len(m.known))
	}
}
