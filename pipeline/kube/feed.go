package kube

import (
	"context"
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

	of    *feed // that fills it, where it does not by itself (targets)
	picks func(*unstructured.Unstructured) bool

	mu    sync.Mutex
	items map[types.UID]*unstructured.Unstructured // nil until listed
	gone  *unstructured.Unstructured               // the last one that was deleted
	err   error                                    // why it is out of date, nil if it is not
	since time.Time                                // of err

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
	for uid, obj := range f.items {
		if items[uid] == nil { // while nobody watched
			f.gone = obj
		}
	}
	f.items, f.err = items, nil
	return list.GetResourceVersion(), nil
}

const (
	minRetry = 200 * time.Millisecond
	maxRetry = 2 * time.Second // also how long a watch lasts that does not count as lost at once

	// watchFor is how long one watch lasts. HTTP/2 notices within a minute that nobody is there any more; where a proxy speaks
	// HTTP/1.1 this does.
	watchFor   = time.Minute
	watchGrace = 10 * time.Second
)

// follow keeps the feed up to date until ctx ends. A watch that ends is gone on with from where it was; where that is too
// long ago (410), or something failed, all is listed again.
func (f *feed) follow(ctx context.Context, w *waiter) {
	retry, from := minRetry, ""
	for ctx.Err() == nil {
		began := time.Now()
		var err error
		if from == "" {
			if from, err = f.list(ctx); err == nil {
				w.poke()
			}
		}
		if err == nil {
			from, err = f.observe(ctx, from, w)
		}
		if ctx.Err() != nil {
			return
		}
		if permanent(err) {
			if !f.optional {
				w.deny(err)
			}
			return
		}
		if err != nil {
			from = ""
			f.fail(err)
			w.poke()
		} else if time.Since(began) > maxRetry {
			retry = minRetry
			continue
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
		}
		retry = min(2*retry, maxRetry)
	}
}

// fail notes why the feed is out of date.
func (f *feed) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.since = silentSince(err)
	}
	f.err = err
}

// permanent reports whether trying again can't help. Whether we are known to the cluster at all is found out by Wait's beat.
func permanent(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsNotFound(err) ||
		apierrors.IsMethodNotSupported(err) || apierrors.IsBadRequest(err)
}

// observe takes in changes until the watch ends, which is no error, and returns from where to go on; empty: from a list.
func (f *feed) observe(ctx context.Context, from string, w *waiter) (resourceVersion string, err error) {
	ctx, cancel := context.WithTimeout(ctx, watchFor+watchGrace)
	defer cancel()
	opts, seconds := f.opts, int64(watchFor/time.Second)
	opts.ResourceVersion, opts.AllowWatchBookmarks, opts.TimeoutSeconds = from, true, &seconds
	watcher, err := f.watch.Watch(ctx, opts)
	if err != nil {
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			return "", nil
		}
		return "", explain("watch", f.ref, err)
	}
	defer watcher.Stop()
	for {
		select {
		case <-ctx.Done():
			return from, nil
		case event, open := <-watcher.ResultChan():
			if !open {
				return from, nil
			}
			obj, ok := event.Object.(*unstructured.Unstructured)
			switch {
			case event.Type == watch.Error: // too old (410), or broken: the list tells how things are
				return "", nil
			case !ok:
				continue
			}
			if version := obj.GetResourceVersion(); version != "" {
				from = version
			}
			if event.Type == watch.Bookmark {
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

// trouble tells why the feed is out of date, and since when; nil if it is not.
func (f *feed) trouble() (since time.Time, err error) {
	f = f.source()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.since, f.err
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

// events returns what a feed of events holds.
func (f *feed) events() ([]corev1.Event, error) {
	all, err := decodeAll[corev1.Event](f)
	return values(all), err
}

func values[T any](pointers []*T) []T {
	all := make([]T, len(pointers))
	for i, p := range pointers {
		all[i] = *p
	}
	return all
}
