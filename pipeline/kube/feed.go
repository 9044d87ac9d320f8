package kube

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
)

// feed is a live selection of objects of one kind.
type feed struct {
	ref      ObjectRef // kind and namespace
	opts     metav1.ListOptions
	read     dynamic.ResourceInterface
	watch    dynamic.ResourceInterface
	optional bool // done without where it is forbidden

	mu    sync.Mutex
	items map[types.UID]*unstructured.Unstructured // nil until listed
	gone  *unstructured.Unstructured               // the last one that was deleted
	err   error                                    // why it is out of date, nil if it is not

	changes   int            // how often items changed
	decoded   []corev1.Event // of a feed of events, after so many changes
	decodedAt int            // -1 until then
}

func (c *Cluster) feed(ctx context.Context, ref ObjectRef, opts metav1.ListOptions) (*feed, error) {
	read, err := c.resource(ctx, c.client, ref)
	if err != nil {
		return nil, err
	}
	watch, err := c.resource(ctx, c.watch, ref)
	if err != nil {
		return nil, err
	}
	return &feed{ref: ref, opts: opts, read: read, watch: watch, decodedAt: -1}, nil
}

// list fills the feed with what there is now, and returns from where to watch on.
func (f *feed) list(ctx context.Context) (resourceVersion string, err error) {
	list, err := f.read.List(ctx, f.opts)
	if err != nil {
		return "", explain("list", f.ref, err)
	}
	items := map[types.UID]*unstructured.Unstructured{}
	for i := range list.Items {
		items[list.Items[i].GetUID()] = &list.Items[i]
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.items, f.err = items, nil
	f.changes++
	return list.GetResourceVersion(), nil
}

const (
	minRetry = 200 * time.Millisecond
	maxRetry = 5 * time.Second
)

// follow keeps the feed up to date until ctx ends: it lists, watches, and begins
// again when the watch is lost, ends, or is told that it is too old (410).
func (f *feed) follow(ctx context.Context, w *waiter) {
	retry := minRetry
	for ctx.Err() == nil {
		from, err := f.list(ctx)
		if err == nil {
			retry = minRetry
			w.poke()
			err = f.observe(ctx, from, w)
		}
		if ctx.Err() != nil {
			return
		}
		if permanent(err) {
			if !f.optional {
				select {
				case w.denied <- err:
				default: // another one was told already
				}
			}
			return
		}
		f.mu.Lock()
		f.err = err
		f.mu.Unlock()
		select {
		case <-time.After(retry):
		case <-ctx.Done():
		}
		if err != nil {
			retry = min(2*retry, maxRetry)
		}
	}
}

// permanent reports whether trying again can't help.
func permanent(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err) ||
		apierrors.IsMethodNotSupported(err) || apierrors.IsBadRequest(err)
}

// observe takes in changes until the watch ends, which is no error.
func (f *feed) observe(ctx context.Context, from string, w *waiter) error {
	opts := f.opts
	opts.ResourceVersion = from
	watcher, err := f.watch.Watch(ctx, opts)
	if err != nil {
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			return nil
		}
		return explain("watch", f.ref, err)
	}
	defer watcher.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, open := <-watcher.ResultChan():
			if !open {
				return nil
			}
			obj, ok := event.Object.(*unstructured.Unstructured)
			switch {
			case event.Type == watch.Error:
				err := apierrors.FromObject(event.Object)
				if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
					return nil
				}
				return explain("watch", f.ref, err)
			case !ok || event.Type == watch.Bookmark:
				continue
			}
			f.mu.Lock()
			if event.Type == watch.Deleted {
				delete(f.items, obj.GetUID())
				f.gone = obj
			} else {
				f.items[obj.GetUID()] = obj
			}
			f.changes++
			f.mu.Unlock()
			w.poke()
		}
	}
}

func (f *feed) listed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.items != nil
}

func (f *feed) trouble() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// one returns the only object of the feed, nil if there is none.
func (f *feed) one() *unstructured.Unstructured {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, obj := range f.items {
		return obj
	}
	return nil
}

// lastDeleted returns the object that was deleted last while it was watched, as it
// then was; nil if none was.
func (f *feed) lastDeleted() *unstructured.Unstructured {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.gone
}

// decodeAll returns the objects of a feed, by name.
func decodeAll[T any](f *feed) ([]*T, error) {
	f.mu.Lock()
	objs := slices.SortedFunc(maps.Values(f.items), func(a, b *unstructured.Unstructured) int { return strings.Compare(a.GetName(), b.GetName()) })
	f.mu.Unlock()
	decoded := make([]*T, len(objs))
	for i, obj := range objs {
		var err error
		if decoded[i], err = decode[T](obj); err != nil {
			return nil, err
		}
	}
	return decoded, nil
}

// events returns what a feed of events holds, decoded once after each change: every target of a namespace asks for them.
func (f *feed) events() ([]corev1.Event, error) {
	f.mu.Lock()
	changes, decoded, at := f.changes, f.decoded, f.decodedAt
	f.mu.Unlock()
	if changes == at {
		return decoded, nil
	}
	all, err := decodeAll[corev1.Event](f)
	if err != nil {
		return nil, err
	}
	decoded = values(all)
	f.mu.Lock()
	f.decoded, f.decodedAt = decoded, changes // what changed meanwhile is decoded next time
	f.mu.Unlock()
	return decoded, nil
}

func values[T any](pointers []*T) []T {
	all := make([]T, len(pointers))
	for i, p := range pointers {
		all[i] = *p
	}
	return all
}
