// Package monitoring holds the alerts and the dashboard of the chart against the documented metrics, and the alerts against recorded
// series, in Prometheus' own parser and engine.
package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"sigs.k8s.io/yaml"
)

const (
	alertsFile    = "../../charts/regatta/files/monitoring/alerts.yaml"
	dashboardFile = "../../charts/regatta/files/monitoring/dashboard.json"
	metricsPage   = "../../docs/reference/metrics.md"
)

// What whoever scrapes adds to every series: the chart's PodMonitors do.
var fromScraping = []string{"namespace", "registry", "pod"}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// documented reads the tables of the page: names of series, as Prometheus has them, and their labels.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	row := regexp.MustCompile("^\\| `(regatta_[a-z_]+)` \\| (counter|gauge|histogram) \\| ([^|]*)\\|")
	label := regexp.MustCompile("`([a-z_]+)`")
	found := map[string][]string{}
	for _, line := range strings.Split(string(read(t, metricsPage)), "\n") {
		cells := row.FindStringSubmatch(line)
		if cells == nil {
			if strings.HasPrefix(line, "| `regatta_") {
				t.Errorf("no metric, type and labels can be read from: %s", line)
			}
			continue
		}
		var names []string
		for _, match := range label.FindAllStringSubmatch(cells[3], -1) {
			names = append(names, match[1])
		}
		if cells[2] != "histogram" {
			found[cells[1]] = names
			continue
		}
		found[cells[1]+"_bucket"] = append(slices.Clone(names), "le")
		found[cells[1]+"_sum"], found[cells[1]+"_count"] = names, names
	}
	if len(found) < 20 {
		t.Fatalf("the page names %v only", found)
	}
	return found
}

// check parses an expression and holds the metrics in it, and the labels that they are selected and grouped by, against the page.
func check(t *testing.T, known map[string][]string, expression string) (used []string) {
	t.Helper()
	parsed, err := parser.ParseExpr(expression)
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	labelsOf := map[string]bool{}
	for _, name := range fromScraping {
		labelsOf[name] = true
	}
	var wanted []string
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			used = append(used, node.Name)
			own, exists := known[node.Name]
			if !exists {
				t.Errorf("%s: %q is not documented", expression, node.Name)
			}
			for _, name := range own {
				labelsOf[name] = true
			}
			for _, matcher := range node.LabelMatchers {
				if matcher.Name != labels.MetricName && !slices.Contains(own, matcher.Name) && !slices.Contains(fromScraping, matcher.Name) {
					t.Errorf("%s: %q has no label %q", expression, node.Name, matcher.Name)
				}
			}
		case *parser.AggregateExpr:
			wanted = append(wanted, node.Grouping...)
			if slices.Contains(node.Grouping, "registry") && !slices.Contains(node.Grouping, "namespace") {
				t.Errorf("%s: registries of one name in two namespaces are taken for one", expression)
			}
		}
		return nil
	})
	for _, name := range wanted {
		if !labelsOf[name] {
			t.Errorf("%s: nothing has the label %q", expression, name)
		}
	}
	return used
}

func alerts(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	groups, problems := rulefmt.Parse(read(t, alertsFile), false)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	found := map[string]rulefmt.Rule{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			if _, twice := found[rule.Alert]; twice || rule.Alert == "" {
				t.Errorf("%q is twice, or no alert", rule.Alert)
			}
			found[rule.Alert] = rule
		}
	}
	return found
}

func TestEachAlertSpeaksOfDocumentedMetricsAndSaysWhatToDo(t *testing.T) {
	known := documented(t)
	for name, rule := range alerts(t) {
		t.Run(name, func(t *testing.T) {
			if len(check(t, known, rule.Expr)) == 0 {
				t.Errorf("%s is about no metric", rule.Expr)
			}
			if rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" || rule.For == 0 {
				t.Error("an alert has a summary, a description and a time that it must hold for")
			}
			if severity := rule.Labels["severity"]; severity != "warning" && severity != "critical" {
				t.Errorf("the severity is %q", severity)
			}
		})
	}
}

type dashboard struct {
	Panels []struct {
		ID      int
		Type    string
		Title   string
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ Expr string }
	}
	Templating struct {
		List []struct{ Name, Definition string }
	}
}

// What Grafana puts in the place of its variables.
var variables = strings.NewReplacer("$__rate_interval", "5m", "$namespace", ".*", "$registry", ".*")

func TestEachPanelShowsDocumentedMetricsAndEveryMetricHasAPanel(t *testing.T) {
	known := documented(t)
	var board dashboard
	if err := json.Unmarshal(read(t, dashboardFile), &board); err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	ids := map[int]bool{}
	for _, panel := range board.Panels {
		if ids[panel.ID] || panel.GridPos.X+panel.GridPos.W > 24 {
			t.Errorf("the panel %q has another one's id, or no place", panel.Title)
		}
		ids[panel.ID] = true
		if panel.Type != "row" && len(panel.Targets) == 0 {
			t.Errorf("the panel %q shows nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			for _, name := range check(t, known, variables.Replace(target.Expr)) {
				shown[name] = true
			}
		}
	}
	for _, variable := range board.Templating.List {
		if query, ok := strings.CutPrefix(variable.Definition, "label_values("); ok {
			check(t, known, variables.Replace(query[:strings.LastIndex(query, ",")]))
		}
	}
	for name := range known {
		if !shown[name] && !strings.HasSuffix(name, "_sum") && !strings.HasSuffix(name, "_count") {
			t.Errorf("%q is on no panel", name)
		}
	}
}

// cases are recorded series (in the notation of promtool's tests, a sample a minute) for which an alert fires, and others for which it
// does not.
type cases map[string]struct {
	Fires []recorded
	Quiet []recorded
}

type recorded struct {
	What   string
	Series map[string]string
	At     string
}

func TestEachAlertFiresWhenItShouldAndNotBefore(t *testing.T) {
	var all cases
	if err := yaml.UnmarshalStrict(read(t, "testdata/alerts.yaml"), &all); err != nil {
		t.Fatal(err)
	}
	rules := alerts(t)
	if have, want := slices.Sorted(maps.Keys(all)), slices.Sorted(maps.Keys(rules)); !slices.Equal(have, want) {
		t.Fatalf("there are cases for %v, and the alerts are %v", have, want)
	}
	for name, one := range all {
		if len(one.Fires) == 0 || len(one.Quiet) == 0 {
			t.Errorf("%s needs a case in which it fires and one in which it does not", name)
		}
		for _, each := range one.Fires {
			t.Run(name+"/fires/"+each.What, func(t *testing.T) {
				if !fires(t, rules[name], each) {
					t.Error("it does not fire")
				}
			})
		}
		for _, each := range one.Quiet {
			t.Run(name+"/quiet/"+each.What, func(t *testing.T) {
				if fires(t, rules[name], each) {
					t.Error("it fires")
				}
			})
		}
	}
}

// fires tells whether the expression held for some labels at each minute of the time that it must hold for.
func fires(t *testing.T, rule rulefmt.Rule, case_ recorded) bool {
	t.Helper()
	at, err := time.ParseDuration(case_.At)
	if err != nil || at < time.Duration(rule.For) {
		t.Fatalf("%s is no time after %s: %v", case_.At, rule.For, err)
	}
	var load strings.Builder
	load.WriteString("load 1m\n")
	for series, samples := range case_.Series {
		fmt.Fprintf(&load, "  %s %s\n", series, samples)
	}
	storage := promqltest.LoadedStorage(t, load.String())
	defer storage.Close()
	engine := promqltest.NewTestEngine(t, false, 5*time.Minute, promqltest.DefaultMaxSamplesPerQuery)
	var held map[uint64]bool
	for moment := at - time.Duration(rule.For); moment <= at; moment += time.Minute {
		query, err := engine.NewInstantQuery(context.Background(), storage, nil, rule.Expr, time.Unix(0, 0).Add(moment))
		if err != nil {
			t.Fatal(err)
		}
		result := query.Exec(context.Background())
		if result.Err != nil {
			t.Fatal(result.Err)
		}
		now := map[uint64]bool{}
		for _, sample := range result.Value.(promql.Vector) {
			if held == nil || held[sample.Metric.Hash()] {
				now[sample.Metric.Hash()] = true
			}
		}
		query.Close()
		held = now
	}
	return len(held) > 0
}
