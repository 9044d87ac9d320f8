package kube

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

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

	of    *feed // that fills it, where it does not by itself (targets)
	picks func(*unstructured.Unstructured) bool

	mu    sync.Mutex
	items map[types.UID]*unstructured.Unstructured // nil until listed
	gone  *unstructured.Unstructured               // the last one that was deleted
	err   error                                    // why it is out of date, nil if it is not

	decoded map[types.UID]decoding // of items, as far as it was asked for
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
	return &feed{ref: ref, opts: opts, read: read, watch: watch}, nil
}

// slim is obj without who owns its fields, half of what it takes to keep, and nothing to who waits.
func slim(obj *unstructured.Unstructured) *unstructured.Unstructured {
	obj.SetManagedFields(nil)
	return obj
}

// list fills the feed with what there is now, and returns from where to watch on.
func (f *feed) list(ctx context.Context) (resourceVersion string, err error) {
	list, err := f.read.List(ctx, f.opts)
	if err != nil {
		return "", explain("list", f.ref, err)
	}
	items := map[types.UID]*unstructured.Unstructured{}
	for i := range list.Items {
		items[list.Items[i].GetUID()] = slim(&list.Items[i])
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.items, f.err = items, nil
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
				f.items[obj.GetUID()] = slim(obj)
			}
			f.mu.Unlock()
			w.poke()
		}
	}
}

// source is the feed that holds the objects of f.
func (f *feed) source() *feed {
	if f.of != nil {
		return f.of
	}
	return f
}

// all returns the objects of the feed.
func (f *feed) all() []*unstructured.Unstructured {
	from := f.source()
	from.mu.Lock()
	defer from.mu.Unlock()
	objs := make([]*unstructured.Unstructured, 0, len(from.items))
	for _, obj := range from.items {
		if f.picks == nil || f.picks(obj) {
			objs = append(objs, obj)
		}
	}
	return objs
}

func (f *feed) listed() bool {
	f = f.source()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.items != nil
}

func (f *feed) trouble() error {
	f = f.source()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// one returns the only object of the feed, nil if there is none.
func (f *feed) one() *unstructured.Unstructured {
	for _, obj := range f.all() {
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

// decodeAll returns the objects of a feed, of a type of the Kubernetes API, by name. They are for reading.
func decodeAll[T any](f *feed) ([]*T, error) {
	objs := f.all()
	decoded := make([]*T, len(objs))
	for i, obj := range objs {
		var err error
		if decoded[i], err = decodedOf[T](f.source(), obj); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(decoded, func(a, b *T) int {
		return strings.Compare(any(a).(metav1.Object).GetName(), any(b).(metav1.Object).GetName())
	})
	return decoded, nil
}

// decoding is an object of a feed and what it decodes to.
type decoding struct {
	of, to any
}

// decodedOf decodes an object of a feed once, however often it is looked at until it changes. Nobody may change what it returns.
func decodedOf[T any](f *feed, obj *unstructured.Unstructured) (*T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	uid := obj.GetUID()
	if known, ok := f.decoded[uid].to.(*T); ok && f.decoded[uid].of == obj {
		return known, nil
	}
	decoded, err := decode[T](obj)
	if err != nil {
		return nil, err
	}
	if f.decoded == nil || len(f.decoded) > 2*len(f.items) { // most of them are gone
		f.decoded = map[types.UID]decoding{}
	}
	f.decoded[uid] = decoding{obj, decoded}
	return decoded, nil
}

func values[T any](pointers []*T) []T {
	all := make([]T, len(pointers))
	for i, p := range pointers {
		all[i] = *p
	}
	return all
}
