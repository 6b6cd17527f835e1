package audit

import "slices"

// Differences are what a change makes different, as details of its record: {"from": …, "to": …} of each field that changes, and of something new the value alone.
type Differences struct {
	Details map[string]any
	created bool
}

// NewDifferences are none yet. created says that there was nothing before.
func NewDifferences(created bool) Differences {
	return Differences{make(map[string]any), created}
}

// Compare notes a field when it changes.
func Compare[T comparable](d Differences, field string, from, to T) {
	if from != to {
		d.note(field, from, to)
	}
}

// CompareLists is Compare of a list; an absent one is an empty one.
func CompareLists[T comparable](d Differences, field string, from, to []T) {
	if !slices.Equal(from, to) {
		d.note(field, from, to)
	}
}

func (d Differences) note(field string, from, to any) {
	if d.created {
		d.Details[field] = to
		return
	}
	d.Details[field] = map[string]any{"from": from, "to": to}
}
