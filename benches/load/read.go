package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// read: clients with a connection each that read one URL again and again. Certificates are not verified: the server's is its own.
func read(arguments []string) error {
	flags := flag.NewFlagSet("read", flag.ExitOnError)
	url := flags.String("url", "", "what to read")
	pid := flags.Int("pid", 0, "the server's process")
	count := flags.Int("clients", 200, "how many read at once")
	seconds := flags.Float64("seconds", 5, "how long")
	second := flags.Bool("http2", false, "by HTTP/2")
	_ = flags.Parse(arguments)

	span := begin(*pid)
	until := span.began.Add(time.Duration(*seconds * float64(time.Second)))
	inParallel(*count, func(int) {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(!*second)
		protocols.SetHTTP2(*second)
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: protocols, MaxConnsPerHost: 1, DisableCompression: true,
		}
		client := &http.Client{Transport: transport, Timeout: time.Minute}
		buffer := make([]byte, 64*1024)
		for time.Now().Before(until) {
			began := time.Now()
			bytes, err := readOnce(client, *url, *second, buffer)
			span.done(time.Since(began), bytes, err)
		}
	})
	span.tell()
	return nil
}

func readOnce(client *http.Client, url string, second bool, buffer []byte) (int64, error) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	if authorization := os.Getenv("AUTHORIZATION"); authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	answer, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK || (answer.ProtoMajor == 2) != second {
		return 0, fmt.Errorf("%s by %s", answer.Status, answer.Proto)
	}
	// Through a buffer of its own: io.Discard's are shared, and small.
	bytes, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, answer.Body, buffer)
	if err == nil && bytes != answer.ContentLength {
		err = fmt.Errorf("%d bytes of %d", bytes, answer.ContentLength)
	}
	return bytes, err
}
