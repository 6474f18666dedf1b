// Package health holds the shipped health checks against recorded objects of every state, in the two interpreters that will run them.
package health

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
	lua "github.com/yuin/gopher-lua"
	"sigs.k8s.io/yaml"
)

var kinds = []string{"Registry", "Project", "RoleBinding", "ReplicationPolicy", "GarbageCollection"}

// What is expected of each file of testdata: <kind>/<state>.yaml. The operator's tests record them from a real API server, and hold them
// against what it writes. Only these kinds can be suspended, have runs, or ask for something that can fail.
var expected = map[string]struct {
	argo, flux string
	kinds      []string
}{
	"new":            {"Progressing", "InProgress", kinds},
	"converging":     {"Progressing", "InProgress", kinds},
	"ready":          {"Healthy", "Current", kinds},
	"stalled":        {"Degraded", "Failed", kinds},
	"deleting":       {"Progressing", "InProgress", kinds},
	"old-generation": {"Progressing", "InProgress", kinds},
	"suspended":      {"Healthy", "Current", []string{"Registry", "ReplicationPolicy", "GarbageCollection"}},
	"failed-run":     {"Healthy", "Current", []string{"ReplicationPolicy", "GarbageCollection"}},
	"retrying":       {"Progressing", "InProgress", []string{"Registry", "RoleBinding", "GarbageCollection"}},
	// Another cluster's operator looks after it: here there is nothing to wait for.
	"delegated":  {"Healthy", "Current", kinds},
	"unreadable": {"Degraded", "Failed", kinds},
	// Pods that do not start.
	"not-started": {"Degraded", "Failed", []string{"Registry", "GarbageCollection"}},
	"running":     {"Healthy", "Current", []string{"GarbageCollection"}},
	// In force, and a person must look at deletions: Ready and Stalled are both True.
	"withheld": {"Degraded", "Failed", []string{"ReplicationPolicy"}},
	// How far replication is nobody knows; that is no matter of health.
	"silent": {"Healthy", "Current", []string{"ReplicationPolicy"}},
}

func read(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// each runs the check with every recorded object.
func each(t *testing.T, check func(t *testing.T, kind, state string, object map[string]any)) {
	var wanted []string
	for state, it := range expected {
		for _, kind := range it.kinds {
			wanted = append(wanted, filepath.Join("testdata", kind, state+".yaml"))
		}
	}
	recorded, err := filepath.Glob("testdata/*/*.yaml")
	slices.Sort(wanted)
	if err != nil || !slices.Equal(recorded, wanted) {
		t.Fatalf("recorded are %v (%v), and expected %v", recorded, err, wanted)
	}
	for _, path := range recorded {
		kind, state := filepath.Base(filepath.Dir(path)), strings.TrimSuffix(filepath.Base(path), ".yaml")
		t.Run(kind+"/"+state, func(t *testing.T) {
			object := map[string]any{}
			read(t, path, &object)
			if object["kind"] != kind || object["apiVersion"] != "regatta.dev/v1alpha1" {
				t.Fatalf("it is a %v of %v", object["kind"], object["apiVersion"])
			}
			check(t, kind, state, object)
		})
	}
}

func TestArgoCDTellsTheHealthOfEveryKindInEveryState(t *testing.T) {
	patch := struct{ Data map[string]string }{}
	read(t, "../../config/argocd/argocd-cm-patch.yaml", &patch)
	if len(patch.Data) != len(kinds) {
		t.Fatalf("the patch has %d entries, one for each of %v was expected", len(patch.Data), kinds)
	}
	each(t, func(t *testing.T, kind, state string, object map[string]any) {
		script := patch.Data["resource.customizations.health.regatta.dev_"+kind]
		status, message := argo(t, script, object)
		if status != expected[state].argo {
			t.Errorf("%s (%s), and not %s", status, message, expected[state].argo)
		}
		if message == "" {
			t.Error("there is no message")
		}
	})
}

// argo evaluates a script as Argo CD does: without the libraries that reach the system, the object as the global `obj`.
func argo(t *testing.T, script string, object map[string]any) (status, message string) {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{{lua.LoadLibName, lua.OpenPackage}, {lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable}, {lua.StringLibName, lua.OpenString}} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(library.open), Protect: true}, lua.LString(library.name)); err != nil {
			t.Fatal(err)
		}
	}
	state.SetGlobal("obj", toLua(state, object))
	if err := state.DoString(script); err != nil {
		t.Fatal(err)
	}
	answer, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("the script returned %v, not a table", state.Get(-1))
	}
	return lua.LVAsString(answer.RawGetString("status")), lua.LVAsString(answer.RawGetString("message"))
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case nil:
		return lua.LNil
	case bool:
		return lua.LBool(value)
	case string:
		return lua.LString(value)
	case float64:
		return lua.LNumber(value)
	case []any:
		table := state.NewTable()
		for _, item := range value {
			table.Append(toLua(state, item))
		}
		return table
	case map[string]any:
		table := state.NewTable()
		for key, item := range value {
			table.RawSetString(key, toLua(state, item))
		}
		return table
	}
	panic(fmt.Sprintf("%T has no place in an object", value))
}

type expressions struct {
	APIVersion, Kind            string
	InProgress, Failed, Current string
}

func TestFluxTellsTheHealthOfEveryKindInEveryState(t *testing.T) {
	patch := struct {
		Spec struct{ HealthCheckExprs []expressions }
	}{}
	read(t, "../../config/flux/health-check-exprs.yaml", &patch)
	byKind := map[string]expressions{}
	for _, e := range patch.Spec.HealthCheckExprs {
		byKind[e.Kind] = e
	}
	if len(patch.Spec.HealthCheckExprs) != len(kinds) || len(byKind) != len(kinds) {
		t.Fatalf("the expressions are for %v, once for each of %v was expected", byKind, kinds)
	}
	each(t, func(t *testing.T, kind, state string, object map[string]any) {
		if byKind[kind].APIVersion != object["apiVersion"] {
			t.Fatalf("the expressions are for %s", byKind[kind].APIVersion)
		}
		if got := flux(t, byKind[kind], object); got != expected[state].flux {
			t.Errorf("%s, and not %s", got, expected[state].flux)
		}
	})
}

// flux follows Flux's RFC 0009: generations first, then the expressions in this order, and in progress if none is true.
func flux(t *testing.T, e expressions, object map[string]any) string {
	t.Helper()
	generation := object["metadata"].(map[string]any)["generation"]
	if status, ok := object["status"].(map[string]any); ok {
		if observed, ok := status["observedGeneration"]; ok && observed != generation {
			return "InProgress"
		}
	}
	for _, step := range []struct{ expression, means string }{
		{e.InProgress, "InProgress"}, {e.Failed, "Failed"}, {e.Current, "Current"},
	} {
		if evaluate(t, step.expression, object) {
			return step.means
		}
	}
	return "InProgress"
}

// evaluate parses without checking types, as Flux does, in an environment like its own.
func evaluate(t *testing.T, expression string, object map[string]any) bool {
	t.Helper()
	env, err := cel.NewEnv(cel.HomogeneousAggregateLiterals(), cel.EagerlyValidateDeclarations(true), cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(), ext.Strings(), ext.Sets(), ext.Encoders())
	if err != nil {
		t.Fatal(err)
	}
	parsed, issues := env.Parse(expression)
	if issues != nil && issues.Err() != nil {
		t.Fatalf("%s: %v", expression, issues.Err())
	}
	program, err := env.Program(parsed)
	if err != nil {
		t.Fatal(err)
	}
	value, _, err := program.Eval(object)
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	answer, ok := value.(types.Bool)
	if !ok {
		t.Fatalf("%s is %v, not true or false", expression, value)
	}
	return bool(answer)
}
