package main

import (
	"bufio"
	"flag"
	"fmt"
	"net"
	"net/http"
	"time"
)

// await: prints the moment, in microseconds since 1970, at which a server has given its first answer, whatever it is. It asks once
// a millisecond, and begins before the server does.
func await(arguments []string) error {
	flags := flag.NewFlagSet("await", flag.ExitOnError)
	address := flags.String("address", "", "host:port")
	seconds := flags.Float64("seconds", 60, "how long at most")
	_ = flags.Parse(arguments)

	until := time.Now().Add(time.Duration(*seconds * float64(time.Second)))
	for time.Now().Before(until) {
		if answers(*address) {
			fmt.Println(time.Now().UnixMicro())
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("%s does not answer", *address)
}

func answers(address string) bool {
	connection, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	defer connection.Close()
	if _, err := fmt.Fprintf(connection, "GET /v2/ HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", address); err != nil {
		return false
	}
	answer, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		return false
	}
	answer.Body.Close()
	return true
}
