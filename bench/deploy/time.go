package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
)

// An environment is what one way of deploying has of one mix.
type environment struct {
	*bench
	mix
	namespace string
	cluster   *kube.Cluster
	release   int
	released  []*unstructured.Unstructured // Shipmate's, last applied
	before    []*unstructured.Unstructured // what was there before all was changed
	laps      string                       // what the parts of the last deployment took
	lap       time.Time
}

func (e *environment) owner() kube.Owner {
	return kube.Owner{App: "bench", Environment: e.namespace, Release: fmt.Sprint(e.release), Namespace: e.namespace}
}

// render is the engine's way from manifests to objects (pipeline/diff.go, objects).
func (e *environment) render(ctx context.Context, dir string) ([]*unstructured.Unstructured, error) {
	objs, err := kube.Render(ctx, kube.Manifests{Root: dir, Path: ".", Name: "bench", Namespace: e.namespace})
	if err != nil {
		return nil, err
	}
	if _, err := kube.Bind(objs, []kube.Image{e.image}); err != nil {
		return nil, err
	}
	if err := kube.Own(objs, e.owner()); err != nil {
		return nil, err
	}
	return objs, kube.KeepRelease(objs, e.released)
}

// took notes what a part took, since the one before.
func (e *environment) took(part string) {
	now := time.Now()
	e.laps += fmt.Sprintf(" %s %.2f", part, now.Sub(e.lap).Seconds())
	e.lap = now
}

// roll is what the engine does with rendered objects (pipeline/deploy.go, deploy).
func (e *environment) roll(ctx context.Context, objs []*unstructured.Unstructured) error {
	if err := e.cluster.Apply(ctx, objs, kube.ApplyOptions{}); err != nil {
		return err
	}
	e.took("apply")
	if err := e.cluster.Wait(ctx, objs, func(kube.Progress) {}); err != nil {
		return err
	}
	e.took("wait")
	if _, err := e.cluster.Verify(ctx, objs, []kube.Image{e.image}); err != nil {
		return err
	}
	_, err := e.cluster.Prune(ctx, kube.InventoryOf(e.released), kube.InventoryOf(objs), e.owner())
	e.took("verify and prune")
	e.released = objs
	return err
}

// shipmate deploys the manifests of a folder as a new release.
func (e *environment) shipmate(ctx context.Context, dir string) error {
	e.release++
	objs, err := e.render(ctx, dir)
	if err != nil {
		return err
	}
	e.took("render")
	if _, err := e.cluster.Diff(ctx, objs, e.released); err != nil {
		return err
	}
	e.took("diff")
	return e.roll(ctx, objs)
}

// byKubectl does the same by hand. What an undo took is forced back.
func (e *environment) byKubectl(ctx context.Context, dir string) error {
	if _, err := e.control(ctx, "-n", e.namespace, "apply", "--server-side", "--force-conflicts", "-f", dir); err != nil {
		return err
	}
	return e.status(ctx)
}

func (e *environment) status(ctx context.Context) error {
	_, err := e.control(ctx, "-n", e.namespace, "rollout", "status", "deployment", "-l", "bench=deploy", "--timeout=5m")
	return err
}

// undo is a rollback by hand.
func (e *environment) undo(ctx context.Context) error {
	args := []string{"-n", e.namespace, "rollout", "undo"}
	for i := range e.deployments {
		args = append(args, fmt.Sprintf("deployment/web-%d", i))
	}
	if _, err := e.control(ctx, args...); err != nil {
		return err
	}
	return e.status(ctx)
}

// A line of the table.
type line struct {
	name string
	goal float64
	took [2][]time.Duration // Shipmate's and kubectl's
}

var ways = []string{"shipmate", "kubectl"}

// times measures every mix in both ways. In each round all is changed, then nothing, and then it is rolled back.
func (b *bench) times(ctx context.Context, rounds int) error {
	var lines []*line
	for _, m := range mixes {
		changed := &line{name: fmt.Sprintf("deploy %d, all changed", m.objects()), goal: goalDeploy}
		same := &line{name: fmt.Sprintf("deploy %d, none changed", m.objects()), goal: goalDeploy}
		back := &line{name: fmt.Sprintf("roll back %d", m.objects()), goal: goalRollback}
		lines = append(lines, changed, same, back)
		var envs []*environment
		for _, way := range ways {
			e := &environment{bench: b, mix: m, cluster: b.cluster, namespace: fmt.Sprintf("bench-%s-%d-%d", way, m.objects(), os.Getpid())}
			if err := b.namespace(ctx, e.namespace); err != nil {
				return err
			}
			envs = append(envs, e)
		}
		for round := range rounds + 1 { // the first makes everything, and fills caches
			dir, err := b.write(fmt.Sprintf("%d-%d", m.objects(), round), m.manifests(b.image.Ref(), round))
			if err != nil {
				return err
			}
			for _, l := range []*line{changed, same, back} {
				if l == back && round == 0 {
					continue // there is nothing before it
				}
				for turn := range ways {
					way := (turn + round) % len(ways)
					if l == changed {
						envs[way].before = envs[way].released
					}
					took, err := envs[way].measure(ctx, round, l == back, way, dir)
					if err != nil {
						return fmt.Errorf("%s by %s: %w", l.name, ways[way], err)
					}
					fmt.Fprintf(os.Stderr, "%d  %-26s %-9s %6.2f s%s\n", round, l.name, ways[way], took.Seconds(), envs[way].laps)
					if round > 0 {
						l.took[way] = append(l.took[way], took)
					}
				}
			}
		}
	}
	return table(os.Stdout, lines)
}

// measure does one thing in one way.
func (e *environment) measure(ctx context.Context, round int, back bool, way int, dir string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	time.Sleep(untilPhase(time.Now(), round))
	began := time.Now()
	e.laps, e.lap = "", began
	var err error
	switch {
	case way == 1 && back:
		err = e.undo(ctx)
	case way == 1:
		err = e.byKubectl(ctx, dir)
	case back:
		err = e.roll(ctx, e.before)
	default:
		err = e.shipmate(ctx, dir)
	}
	return time.Since(began), err
}

// untilPhase is how long it is until the part of a second at which a round's measures begin: a kubelet looks at its containers
// once a second, so that whoever begins right after it has to wait longest. Both ways begin at the same part, each round at another.
func untilPhase(now time.Time, round int) time.Duration {
	const golden = 618 * time.Millisecond
	phase := (time.Duration(round) * golden) % time.Second
	return (phase - time.Duration(now.Nanosecond()) + time.Second) % time.Second
}

func table(to io.Writer, lines []*line) error {
	t := tabwriter.NewWriter(to, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "objects\tShipmate\tkubectl\tratio\tat most\tmet")
	missed := false
	for _, l := range lines {
		ratio, met := float64(median(l.took[0]))/float64(median(l.took[1])), "yes"
		if ratio > l.goal {
			met, missed = "no", true
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%.2f\t%.2f\t%s\n", l.name, spread(l.took[0]), spread(l.took[1]), ratio, l.goal, met)
	}
	if err := errors.Join(t.Flush(), blank(to)); err != nil {
		return err
	}
	if missed {
		return errMissed
	}
	return nil
}

// blank ends a table.
func blank(to io.Writer) error {
	_, err := fmt.Fprintln(to)
	return err
}

func median(d []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

func spread(d []time.Duration) string {
	return fmt.Sprintf("%.2f s [%.2f–%.2f]", median(d).Seconds(), slices.Min(d).Seconds(), slices.Max(d).Seconds())
}
