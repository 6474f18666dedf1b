// CoreDNS with only what a test cluster asks of it.
//
// The whole of CoreDNS links the clients of half a dozen clouds and takes minutes to build; these three plugins answer for
// Services and Pods (kubernetes), refuse everything else at once (template) and say what went wrong (errors).
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/template"
)

// The order in which a query passes the plugins, whatever order the Corefile lists them in. CoreDNS's own list
// (core/dnsserver/zdirectives.go) also holds the server block's directives, of which none is needed here.
func init() {
	dnsserver.Directives = []string{"errors", "kubernetes", "template"}
}

func main() {
	coremain.Run()
}
