// Prints the reference of the kinds from their CustomResourceDefinitions, given as files: every field with its type, its default, its bounds,
// its description and the rules that it must keep. So the reference says what the API server says.
package main

import (
	"fmt"
	"os"
	"sort"
	"strings"

	"sigs.k8s.io/yaml"
)

type schema struct {
	Type            string            `json:"type"`
	Description     string            `json:"description"`
	Default         any               `json:"default"`
	Enum            []any             `json:"enum"`
	Required        []string          `json:"required"`
	Properties      map[string]schema `json:"properties"`
	Items           *schema           `json:"items"`
	Additional      *schema           `json:"additionalProperties"`
	Minimum         *float64          `json:"minimum"`
	Maximum         *float64          `json:"maximum"`
	MinItems        *int              `json:"minItems"`
	MaxItems        *int              `json:"maxItems"`
	Validations     []rule            `json:"x-kubernetes-validations"`
	IntOrString     bool              `json:"x-kubernetes-int-or-string"`
	PreserveUnknown bool              `json:"x-kubernetes-preserve-unknown-fields"`
	ListMapKeys     []string          `json:"x-kubernetes-list-map-keys"`
}

type rule struct {
	Message string `json:"message"`
}

type definition struct {
	Spec struct {
		Names struct {
			Kind       string   `json:"kind"`
			Plural     string   `json:"plural"`
			ShortNames []string `json:"shortNames"`
		} `json:"names"`
		Versions []struct {
			Name   string `json:"name"`
			Schema struct {
				OpenAPI schema `json:"openAPIV3Schema"`
			} `json:"schema"`
		} `json:"versions"`
	} `json:"spec"`
}

// In the order in which one meets them.
var order = []string{"Registry", "Project", "RoleBinding", "ReplicationPolicy", "GarbageCollection"}

const head = `# The five kinds

<!-- Printed from crds/ by scripts/reference; scripts/generate.sh writes this file. -->

All are of ` + "`regatta.dev/v1alpha1`" + `, namespaced, and in the category ` + "`regatta`" + `: ` + "`kubectl get regatta`" + ` lists them all. A reference is a name in the
same namespace.

Conditions: **Ready** (accepted and set up), **Reconciling** (converging on the spec), **Stalled** (a person must act; the message names the field
and the remedy). Outcomes of runs have conditions of their own, and none of them makes an object Stalled by being unreachable.

Annotations: ` + "`regatta.dev/requested-at`" + ` with any new value asks for a run now; ` + "`status.lastHandledRequest`" + ` shows that value when it is done.
`

func main() {
	kinds := map[string]definition{}
	for _, path := range os.Args[1:] {
		text, err := os.ReadFile(path)
		stop(err)
		var d definition
		stop(yaml.Unmarshal(text, &d))
		kinds[d.Spec.Names.Kind] = d
	}
	fmt.Print(head)
	for _, kind := range order {
		d, there := kinds[kind]
		if !there {
			stop(fmt.Errorf("no definition of %s among %v", kind, os.Args[1:]))
		}
		delete(kinds, kind)
		print(d)
	}
	for kind := range kinds {
		stop(fmt.Errorf("the order of the reference does not know %s", kind))
	}
}

func stop(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func print(d definition) {
	names, root := d.Spec.Names, d.Spec.Versions[0].Schema.OpenAPI
	fmt.Printf("\n## %s\n\n`kubectl get %s`", names.Kind, names.Plural)
	for _, short := range names.ShortNames {
		fmt.Printf(", short `%s`", short)
	}
	fmt.Printf(". %s\n", root.Description)
	for _, part := range []string{"spec", "status"} {
		fmt.Printf("\n### `%s` of a %s\n\n| field | type | what |\n|---|---|---|\n", part, names.Kind)
		fields(part, root.Properties[part])
	}
	rules := append(collect("", schema{Validations: root.Validations}), collect("spec", root.Properties["spec"])...)
	if len(rules) > 0 {
		fmt.Printf("\nRefused by the API server:\n\n")
		for _, message := range rules {
			fmt.Printf("- %s\n", message)
		}
	}
}

// fields prints a row for each field below the schema; below, since the root of a tree needs no row of its own.
func fields(path string, s schema) {
	required := map[string]bool{}
	for _, name := range s.Required {
		required[name] = true
	}
	for _, name := range sorted(s.Properties) {
		child := s.Properties[name]
		at := path + "." + name
		// Kubernetes' own conditions are the same everywhere.
		if at == "status.conditions" {
			fmt.Printf("| `%s[]` | Condition | %s |\n", at, text(child))
			continue
		}
		kind, inner := typed(child)
		what := text(child)
		if required[name] && strings.HasPrefix(path, "spec") {
			what = "**Required.** " + what
		}
		fmt.Printf("| `%s` | %s | %s |\n", at, kind, what)
		if inner != nil {
			suffix := ""
			if child.Type == "array" {
				suffix = "[]"
			}
			fields(at+suffix, *inner)
		}
	}
}

// typed says a schema's type in a word or two, and which schema has its fields.
func typed(s schema) (string, *schema) {
	switch {
	case s.IntOrString:
		return "quantity", nil
	case len(s.Enum) > 0:
		values := []string{}
		for _, value := range s.Enum {
			values = append(values, fmt.Sprintf("`%v`", value))
		}
		return strings.Join(values, ", "), nil
	case s.Type == "array" && s.Items != nil:
		kind, inner := typed(*s.Items)
		return "list of " + kind, inner
	case s.Additional != nil:
		kind, _ := typed(*s.Additional)
		return "map to " + kind, nil
	case s.Type == "object":
		return "object", &s
	}
	return s.Type, nil
}

func text(s schema) string {
	out := strings.Join(strings.Fields(s.Description), " ")
	if s.Default != nil {
		if _, object := s.Default.(map[string]any); !object {
			out += fmt.Sprintf(" Default: `%v`.", s.Default)
		}
	}
	if s.Minimum != nil && s.Maximum != nil {
		out += fmt.Sprintf(" From %v to %v.", *s.Minimum, *s.Maximum)
	}
	if s.MaxItems != nil && s.Type == "array" {
		out += fmt.Sprintf(" At most %d.", *s.MaxItems)
	}
	return strings.ReplaceAll(strings.TrimSpace(out), "|", "\\|")
}

func sorted(properties map[string]schema) []string {
	names := make([]string, 0, len(properties))
	for name := range properties {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// collect gathers the messages of a tree's rules, each once.
func collect(path string, s schema) []string {
	var messages []string
	for _, r := range s.Validations {
		if r.Message != "" {
			messages = append(messages, r.Message)
		}
	}
	for _, name := range sorted(s.Properties) {
		messages = append(messages, collect(path+"."+name, s.Properties[name])...)
	}
	if s.Items != nil {
		messages = append(messages, collect(path+"[]", *s.Items)...)
	}
	return messages
}
