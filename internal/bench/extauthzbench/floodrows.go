package main

import (
	"fmt"
	"math"

	"github.com/agentidp/agentidp/internal/bench/measure"
	"github.com/agentidp/agentidp/internal/bench/report"
)

// floodRows compare each flood with the good requests alone; scenarios are both, in this order.
func floodRows(alone *goodLoad, beside []*goodLoad, scenarios []*scenario) []report.Row {
	var rows []report.Row
	for i, g := range beside {
		kept := make([]float64, len(g.kept))
		for n := range kept {
			kept[n] = g.kept[n] / alone.kept[n]
		}
		what := fmt.Sprintf("%.0f good requests/s beside a flood of %s", goodRate, g.flood.name)
		o, t, ratio := compare(scenarios[i+1], scenarios[0], p99)
		rows = append(rows,
			report.AtLeast(what+": share allowed within 250 ms", measure.Median(g.kept), measure.Median(alone.kept), measure.Median(kept), keptMin),
			report.Compared(what+": p99, us", o, t, ratio, floodP99Max))
		o, t, ratio = compare(scenarios[i+1], scenarios[0], p50)
		rate := measure.Median(g.rates)
		rows = append(rows, report.Shown(what+": p50, us", o, t, ratio), report.Least("flood of "+g.flood.name+": requests/s", rate, math.NaN(), math.NaN(), floodRateMin))
	}
	return rows
}
