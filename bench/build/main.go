// Command build measures building and pushing beside buildctl, with the same options, on the same daemon and in the same run:
// cold (the daemon's cache pruned, and nothing in the registry to import), with one line changed, with nothing changed, and
// many repositories at once.
//
//	BUILDKIT_HOST=… REGISTRY=… build -buildctl "$(e2e/setup.sh --print-bin)/buildctl"
//
// The registry is spoken to by plain HTTP, in the daemon's configuration too; the base image is pushed there. The two ways take
// turns, and in every other round the other one begins. Nothing is asserted about time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/moby/buildkit/client"
	"golang.org/x/sync/errgroup"

	"github.com/shipmate-dev/shipmate/e2e"
	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/image"
	"github.com/shipmate-dev/shipmate/pipeline/mask"
	"github.com/shipmate-dev/shipmate/pipeline/runlog"
)

// The goal: Shipmate takes at most goalRatio times what buildctl takes, or at most goalExtra more.
const (
	goalRatio = 1.05
	goalExtra = 200 * time.Millisecond
)

func main() {
	rounds := flag.Int("rounds", 5, "how often each is measured")
	example := flag.String("example", "examples/devops-app", "what is built")
	buildctl := flag.String("buildctl", "", "the program buildctl")
	many := flag.Int("many", 10, "how many repositories are built at once; 0 leaves that out")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *buildctl, *example, *rounds, *many); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

const atOnce = "many repositories at once"

// A way builds the folder dir and pushes it to an image, with a cache beside it.
type way func(ctx context.Context, dir, image string) error

// A bench is what both ways use.
type bench struct {
	many                                   int
	host, registry, buildctl, example, dir string
	builder                                *build.Builder
	images                                 *image.Client
}

func run(ctx context.Context, buildctl, example string, rounds, many int) error {
	b := &bench{host: os.Getenv("BUILDKIT_HOST"), registry: os.Getenv("REGISTRY"), buildctl: buildctl, example: example}
	if b.host == "" || b.registry == "" || buildctl == "" {
		return fmt.Errorf("it needs BUILDKIT_HOST, REGISTRY and -buildctl")
	}
	var err error
	if b.builder, err = build.Open(build.Address{URL: b.host}); err != nil {
		return err
	}
	b.images = image.New(map[string]image.Registry{b.registry: {PlainHTTP: true}})
	if b.dir, err = os.MkdirTemp("", "bench-build-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if _, err := e2e.PushBase(ctx, b.registry); err != nil {
		return err
	}
	ways := []way{b.shipmate, b.byBuildctl}
	took := map[string][2][]time.Duration{}
	measures := []string{"cold", "one line changed", "nothing changed"}
	if b.many = many; many > 0 {
		measures = append(measures, atOnce)
	}
	for round := range rounds + 1 { // the first fills what is no builder's: the registry's and the machine's caches
		for _, measure := range measures {
			if measure == atOnce && round == 0 {
				continue // it takes minutes, and there is nothing left to fill
			}
			for turn := range ways {
				w := (turn + round) % 2
				d, err := b.measure(ctx, measure, ways[w], fmt.Sprintf("%s-%d", []string{"shipmate", "buildctl"}[w], round))
				if err != nil {
					return fmt.Errorf("%s: %w", measure, err)
				}
				if round > 0 {
					t := took[measure]
					t[w] = append(t[w], d)
					took[measure] = t
				}
				fmt.Fprintf(os.Stderr, "%d  %-24s %-9s %6.2f s\n", round, measure, []string{"Shipmate", "buildctl"}[w], d.Seconds())
			}
		}
	}
	return table(os.Stdout, measures, took)
}

// measure does one thing in one way. Name is of the image: no other round, and not the other way, has it.
func (b *bench) measure(ctx context.Context, measure string, build way, name string) (time.Duration, error) {
	image := b.registry + "/bench/" + name
	switch measure {
	case "cold":
		if err := b.prune(ctx); err != nil {
			return 0, err
		}
		if err := b.write(name, name); err != nil {
			return 0, err
		}
	case "one line changed":
		// The other way's cold build has pruned what this one's left, the compiler's cache too.
		if err := b.write(name, fmt.Sprint(name, ", again")); err != nil {
			return 0, err
		}
		if err := build(ctx, filepath.Join(b.dir, name), image); err != nil {
			return 0, err
		}
		if err := b.write(name, fmt.Sprint(name, ", changed")); err != nil {
			return 0, err
		}
	case atOnce:
		for i := range b.many {
			if err := b.write(fmt.Sprint(name, "-", i), fmt.Sprint(name, ", repository ", i)); err != nil {
				return 0, err
			}
		}
		began := time.Now()
		var g errgroup.Group
		for i := range b.many {
			g.Go(func() error {
				return build(ctx, filepath.Join(b.dir, fmt.Sprint(name, "-", i)), fmt.Sprint(image, "-", i))
			})
		}
		err := g.Wait()
		return time.Since(began), err
	}
	began := time.Now()
	err := build(ctx, filepath.Join(b.dir, name), image)
	return time.Since(began), err
}

// write puts the example into a folder, with another greeting.
func (b *bench) write(folder, greeting string) error {
	dir := filepath.Join(b.dir, folder)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.CopyFS(dir, os.DirFS(b.example)); err != nil {
		return err
	}
	file := filepath.Join(dir, "main.go")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	changed := strings.Replace(string(text), "Hello from devops-app, v1", "Hello from "+greeting, 1)
	if changed == string(text) {
		return fmt.Errorf("%s greets in other words", file)
	}
	if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
		return err
	}
	file = filepath.Join(dir, "Dockerfile")
	if text, err = os.ReadFile(file); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(strings.Replace(string(text), "FROM golang:", "FROM "+b.registry+"/library/golang:", 1)), 0o644)
}

func (b *bench) prune(ctx context.Context) error {
	c, err := client.New(ctx, b.host)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Prune(ctx, nil, client.PruneAll)
}

// epoch is the time of a commit.
var epoch = time.Unix(1790000000, 0)

// shipmate is the bot's way: the options of pipeline's buildRequest, a log that is written, and the tag put on the digest.
func (b *bench) shipmate(ctx context.Context, dir, image string) error {
	log, err := runlog.Create(dir+".log.zst", mask.New())
	if err != nil {
		return err
	}
	res, err := b.builder.Build(ctx, build.Request{
		Dir: dir, Image: image, CacheImports: []string{image + ":cache"}, CacheExports: []string{image + ":cache"},
		Insecure: func(string) bool { return true }, SourceDateEpoch: epoch,
	}, func(l build.Line) { log.Write(runlog.Line{At: l.At, Step: l.Step, Stream: l.Stream, Text: l.Text}) })
	if err := errors.Join(err, log.Close()); err != nil {
		return err
	}
	ref := image + "@" + res.Digest
	if _, err := b.images.Resolve(ctx, ref); err != nil {
		return err
	}
	if _, err := b.images.Parts(ctx, ref); err != nil {
		return err
	}
	return b.images.Tag(ctx, ref, "bench")
}

func (b *bench) byBuildctl(ctx context.Context, dir, image string) error {
	cmd := exec.CommandContext(ctx, b.buildctl, "--addr", b.host, "build", "--progress=plain", "--frontend", "dockerfile.v0",
		"--local", "context="+dir, "--local", "dockerfile="+dir, "--opt", "filename=Dockerfile", "--opt", "build-arg:BUILDKIT_CACHE_MOUNT_NS="+image,
		"--output", fmt.Sprintf("type=image,name=%s:bench,push=true,oci-mediatypes=true,registry.insecure=true,source-date-epoch=%d,rewrite-timestamp=true", image, epoch.Unix()),
		"--import-cache", "type=registry,registry.insecure=true,ref="+image+":cache",
		"--export-cache", "type=registry,registry.insecure=true,mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true,ref="+image+":cache")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("buildctl: %w\n%s", err, out)
	}
	return nil
}

func table(to io.Writer, measures []string, took map[string][2][]time.Duration) error {
	t := tabwriter.NewWriter(to, 0, 0, 3, ' ', 0)
	fmt.Fprintf(t, "build and push\tShipmate\tbuildctl\tdifference\tratio\tat most %.2f, or %s more\n", goalRatio, goalExtra)
	for _, m := range measures {
		ours, theirs := median(took[m][0]), median(took[m][1])
		met := "no"
		if float64(ours) <= goalRatio*float64(theirs) || ours-theirs <= goalExtra {
			met = "yes"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%+.2f s\t%.2f\t%s\n", m, spread(took[m][0]), spread(took[m][1]), (ours - theirs).Seconds(), float64(ours)/float64(theirs), met)
	}
	return t.Flush()
}

func median(d []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

func spread(d []time.Duration) string {
	return fmt.Sprintf("%.2f s [%.2f–%.2f]", median(d).Seconds(), slices.Min(d).Seconds(), slices.Max(d).Seconds())
}
