package kubernetes

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// change is a field of a workload's specification that has another value.
type change struct {
	path string
	text string
	// part says that a whole container or volume was added or removed.
	part bool
}

// maxChanges bounds the changes that are named.
const maxChanges = 30

// diff names the fields that changed.
func diff(before, after template) []change {
	old, now := fieldsOf(before), fieldsOf(after)
	var all []change
	for _, path := range paths(before, after) {
		a, had := old[path]
		b, has := now[path]
		if had && has && a.value == b.value {
			continue
		}
		part, inside := partOf(path)
		_, was := old[part]
		_, is := now[part]
		switch {
		case inside && was != is && path != part: // the part is named as a whole
		case inside && path == part:
			all = append(all, change{path, strings.TrimSuffix(part, ": ") + added(is, now[part+"image"].value), true})
		default:
			all = append(all, change{path: path, text: path + describe(a, b, had, has)})
		}
	}
	return all
}

// partOf is the container or volume that a field belongs to: "container app: ".
func partOf(path string) (part string, ok bool) {
	name, _, ok := strings.Cut(path, ": ")
	return name + ": ", ok
}

func added(is bool, image string) string {
	switch {
	case is && image != "":
		return " added with image " + image
	case is:
		return " added"
	}
	return " removed"
}

// describe says how a field changed. Of a hidden one it says only that it did.
func describe(a, b templateField, had, has bool) string {
	switch hidden := a.hidden || b.hidden; {
	case hidden && !had:
		return " set"
	case hidden && !has:
		return " removed"
	case hidden:
		return " changed"
	}
	return fmt.Sprintf(" %s -> %s", shown(a, had), shown(b, has))
}

func shown(f templateField, there bool) string {
	if !there {
		return "none"
	}
	return cmp.Or(f.value, `""`)
}

func fieldsOf(t template) map[string]templateField {
	fields := make(map[string]templateField, len(t))
	for _, f := range t {
		fields[f.path] = f
	}
	return fields
}

// paths are the paths of two templates, sorted.
func paths(a, b template) []string {
	all := make([]string, 0, len(a)+len(b))
	for _, t := range []template{a, b} {
		for _, f := range t {
			all = append(all, f.path)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// partition tells changes of images, of restart annotations and others apart. A container that comes or
// goes changes the images, too.
func partition(all []change) (images, rest, restarts []change) {
	for _, c := range all {
		switch {
		case isImage(c.path):
			images = append(images, c)
		case isRestart(c.path):
			restarts = append(restarts, c)
		default:
			rest = append(rest, c)
			if c.part && !strings.HasPrefix(c.path, "volume ") {
				images = append(images, c)
			}
		}
	}
	return images, rest, restarts
}

// list names changes.
func list(all []change) string {
	var texts []string
	for i, c := range all {
		if i == maxChanges {
			texts = append(texts, fmt.Sprintf("and %d more", len(all)-i))
			break
		}
		texts = append(texts, c.text)
	}
	return strings.Join(texts, "; ")
}
