// A program of a few megabytes for pods that look at their cluster from within.
//
//	probe serve :8080     answers every request with the pod's name, logs it
//	probe resolve NAME    prints the addresses of a name
//	probe get URL         prints what is there
//	probe write FILE TEXT, probe read FILE
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("say what: serve, resolve, get, write or read")
	}
	// Nothing here takes long in a healthy cluster; who asks tries again when he thinks it worth while.
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	switch args[0] {
	case "serve":
		return serve(args[1])
	case "resolve":
		addresses, err := net.DefaultResolver.LookupHost(ctx, args[1])
		fmt.Println(strings.Join(addresses, " "))
		return err
	case "get":
		return get(ctx, args[1])
	case "write":
		return os.WriteFile(args[1], []byte(strings.Join(args[2:], " ")+"\n"), 0o644)
	case "read":
		content, err := os.ReadFile(args[1])
		fmt.Print(string(content))
		return err
	}
	return fmt.Errorf("there is no %s", args[0])
}

func serve(address string) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	// A first process of its namespace is not ended by a signal that it does not handle.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	server := &http.Server{Addr: address, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("asked by", r.RemoteAddr)
		fmt.Fprintln(w, name)
	})}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		return err
	}
	return nil
}

func get(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}
