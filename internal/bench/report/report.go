// Package report holds the table that every `make bench*` prints, and the same rows as JSON.
//
// A goal bounds the ratio where there is something to compare with, and our own figure where there is not. A row without a
// goal is there to explain others.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"text/tabwriter"
)

// Row is one line. What was not measured is null, never zero.
type Row struct {
	Name  string   `json:"name"` // what, and its unit
	Ours  *float64 `json:"ours"`
	Other *float64 `json:"other"` // the floor's or the peer's figure
	Ratio *float64 `json:"ratio"` // ours to theirs
	Goal  string   `json:"goal"`  // "" for none
	Holds *bool    `json:"holds"`
}

// Compared is a row whose goal bounds the ratio, which is given because the median of ratios is not the ratio of medians.
func Compared(name string, ours, other, ratio, goalMax float64) Row {
	holds := ratio <= goalMax
	return Row{name, finite(ours), finite(other), finite(ratio), goal(goalMax), &holds}
}

// AtLeast is a row whose goal bounds the ratio from below.
func AtLeast(name string, ours, other, ratio, goalMin float64) Row {
	holds := ratio >= goalMin
	return Row{name, finite(ours), finite(other), finite(ratio), ">= " + strconv.FormatFloat(goalMin, 'g', 3, 64), &holds}
}

// Absolute is a row whose goal bounds our figure.
func Absolute(name string, ours, goalMax float64) Row {
	holds := ours <= goalMax
	return Row{Name: name, Ours: finite(ours), Goal: goal(goalMax), Holds: &holds}
}

// Least is a row whose goal bounds our own figure from below; the other's is beside it.
func Least(name string, ours, other, ratio, goalMin float64) Row {
	holds := ours >= goalMin
	return Row{name, finite(ours), finite(other), finite(ratio), ">= " + strconv.FormatFloat(goalMin, 'f', -1, 64), &holds}
}

// Most is a row whose goal bounds our own figure from above; the other's is beside it.
func Most(name string, ours, other, ratio, goalMax float64) Row {
	holds := ours <= goalMax
	return Row{name, finite(ours), finite(other), finite(ratio), goal(goalMax), &holds}
}

// Shown is a row without a goal.
func Shown(name string, ours, other, ratio float64) Row {
	return Row{Name: name, Ours: finite(ours), Other: finite(other), Ratio: finite(ratio)}
}

// NotGiven is a row that has a goal and nothing to compare with; the name says what was not given.
func NotGiven(name string, goalMax float64) Row { return Row{Name: name, Goal: goal(goalMax)} }

// Missing is a row without a goal that was not measured; the name says why.
func Missing(name string) Row { return Row{Name: name} }

func goal(maximum float64) string { return "<= " + strconv.FormatFloat(maximum, 'g', 3, 64) }

// finite is nil for what JSON cannot say.
func finite(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// Print writes the table for people.
func Print(w io.Writer, rows []Row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "what\tours\tfloor or peer\tratio\tgoal\tholds")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, number(r.Ours), number(r.Other), number(r.Ratio), orDash(r.Goal), verdict(r.Holds))
	}
	return t.Flush()
}

// WriteJSON writes the rows as a JSON list, one row a line.
func WriteJSON(w io.Writer, rows []Row) error {
	separator := "[\n  "
	for _, r := range rows {
		text, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s%s", separator, text); err != nil {
			return err
		}
		separator = ",\n  "
	}
	if len(rows) == 0 {
		_, err := io.WriteString(w, "[]\n")
		return err
	}
	_, err := io.WriteString(w, "\n]\n")
	return err
}

// number shows three digits that mean something.
func number(v *float64) string {
	switch {
	case v == nil:
		return "-"
	case math.Abs(*v) >= 100:
		return strconv.FormatFloat(*v, 'f', 0, 64)
	case math.Abs(*v) >= 10:
		return strconv.FormatFloat(*v, 'f', 1, 64)
	case math.Abs(*v) >= 1:
		return strconv.FormatFloat(*v, 'f', 2, 64)
	}
	return strconv.FormatFloat(*v, 'f', 3, 64)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func verdict(holds *bool) string {
	switch {
	case holds == nil:
		return "-"
	case *holds:
		return "yes"
	}
	return "no"
}
