package kube

import (
	"context"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// targets makes the targets of objs, in order, and the feeds that fill them: one of what is of the same kind and namespace
// and can be selected together, not one for each target.
func (c *Cluster) targets(ctx context.Context, objs []*unstructured.Unstructured) ([]*target, []*feed, error) {
	targets := make([]*target, len(objs))
	var s sharing
	for i, obj := range objs {
		t, err := c.target(ctx, obj)
		if err != nil {
			return nil, nil, err
		}
		targets[i] = t
		// The last Job that was deleted is remembered of each (lastDeleted).
		if ours := ourLabels(obj); ours != "" && t.ref.Kind != "Job" {
			s.add(t.self, ours, ours, func(o *unstructured.Unstructured) bool { return o.GetName() == t.ref.Name })
		} else {
			s.add(t.self, "", "", nil)
		}
		for _, f := range []*feed{t.pods, t.sets} {
			if f != nil && f != t.self {
				s.addSelected(f)
			}
		}
	}
	return targets, s.merge(), nil
}

// aside gives the target of a problem a feed of its own, not followed yet, where the problem is only that the target is not among
// what has our labels: something may have taken them off. nil: that is not it.
func (w *waiter) aside(p *problem) *feed {
	for _, t := range w.targets {
		if p.Reason != "NotFound" || t.ref.String() != p.Object || t.ref.Namespace != p.Namespace || t.self.of == nil {
			continue
		}
		own := &feed{ref: t.ref, opts: metav1.ListOptions{FieldSelector: "metadata.name=" + t.ref.Name}, read: t.self.of.read, watch: t.self.of.watch}
		if t.pods == t.self {
			t.pods = own
		}
		t.self = own
		return own
	}
	return nil
}

// sharing gathers feeds to find those that one can fill.
type sharing struct {
	groups map[group]*shared
	order  []group
	alone  []*feed
}

// group is what feeds have in common that one can fill.
type group struct {
	ref   ObjectRef // without a name
	shape string    // how they select
}

// shared is a group's feeds, and what selects all that they want.
type shared struct {
	feeds  []*feed
	picks  []func(*unstructured.Unstructured) bool
	fixed  string                     // a selector that they have in common, or
	values map[string]map[string]bool // the values of each label that they select
}

// add adds a feed that may be filled by what selector selects, of which it picks its own. An empty shape means: by nothing else.
func (s *sharing) add(f *feed, shape, selector string, picks func(*unstructured.Unstructured) bool) *shared {
	if shape == "" {
		s.alone = append(s.alone, f)
		return nil
	}
	g := group{f.ref, shape}
	g.ref.Name = ""
	if s.groups == nil {
		s.groups = map[group]*shared{}
	}
	in := s.groups[g]
	if in == nil {
		in = &shared{fixed: selector, values: map[string]map[string]bool{}}
		s.groups[g], s.order = in, append(s.order, g)
	}
	in.feeds, in.picks = append(in.feeds, f), append(in.picks, picks)
	return in
}

// addSelected adds a feed that selects by labels. Those that ask for values of the same labels are of one group.
func (s *sharing) addSelected(f *feed) {
	selector, err := labels.Parse(f.opts.LabelSelector)
	if err != nil || selector.Empty() {
		s.add(f, "", "", nil)
		return
	}
	picks := func(o *unstructured.Unstructured) bool { return selector.Matches(labels.Set(o.GetLabels())) }
	wanted, _ := selector.Requirements()
	values, plain := map[string]string{}, true
	for _, r := range wanted {
		value, one := r.Values().PopAny()
		plain = plain && one && r.Values().Len() == 1 && slices.Contains([]selection.Operator{selection.Equals, selection.DoubleEquals, selection.In}, r.Operator())
		values[r.Key()] = value
	}
	if !plain || len(values) < len(wanted) {
		s.add(f, "as "+f.opts.LabelSelector, f.opts.LabelSelector, picks)
		return
	}
	in := s.add(f, "by "+strings.Join(slices.Sorted(maps.Keys(values)), " "), "", picks)
	for key, value := range values {
		if in.values[key] == nil {
			in.values[key] = map[string]bool{}
		}
		in.values[key][value] = true
	}
}

// merge lets each group of more than one be filled by one feed, and returns what has to be followed.
func (s *sharing) merge() []*feed {
	feeds := s.alone
	for _, g := range s.order {
		in := s.groups[g]
		if len(in.feeds) == 1 {
			feeds = append(feeds, in.feeds[0])
			continue
		}
		opts := metav1.ListOptions{LabelSelector: in.fixed}
		if in.fixed == "" {
			var all []string
			for _, key := range slices.Sorted(maps.Keys(in.values)) {
				if values := slices.Sorted(maps.Keys(in.values[key])); len(values) == 1 {
					all = append(all, key+"="+values[0]) // in () would select by no value, not by an empty one
				} else {
					all = append(all, key+" in ("+strings.Join(values, ",")+")")
				}
			}
			opts.LabelSelector = strings.Join(all, ",")
		}
		all := &feed{ref: g.ref, opts: opts, read: in.feeds[0].read, watch: in.feeds[0].watch}
		for i, f := range in.feeds {
			f.of, f.picks = all, in.picks[i]
		}
		feeds = append(feeds, all)
	}
	return feeds
}
