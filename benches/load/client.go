package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const manifestType = "application/vnd.oci.image.manifest.v1+json"

// The configuration of an artifact that has none, as the image specification defines it.
var emptyConfig = []byte("{}")

// One client of a registry, with one connection that it keeps.
type client struct {
	base          *url.URL
	authorization string
	http          *http.Client
}

func newClient(base string) (*client, error) {
	parsed, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{MaxConnsPerHost: 1, MaxIdleConnsPerHost: 1, DisableCompression: true}
	return &client{
		base:          parsed,
		authorization: os.Getenv("AUTHORIZATION"),
		// Where a status is expected, another one is an error, a redirect too.
		http: &http.Client{Transport: transport, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}},
	}, nil
}

// newClients makes several.
func newClients(base string, count int) ([]*client, error) {
	clients := make([]*client, count)
	for n := range clients {
		var err error
		if clients[n], err = newClient(base); err != nil {
			return nil, err
		}
	}
	return clients, nil
}

// do sends one request and reads the whole answer, which must have the status that is wanted.
func (c *client) do(method, path, contentType string, body []byte, want int) (http.Header, []byte, error) {
	at, err := c.base.Parse(path)
	if err != nil {
		return nil, nil, err
	}
	request, err := http.NewRequest(method, at.String(), bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if c.authorization != "" {
		request.Header.Set("Authorization", c.authorization)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, nil, err
	}
	if answer.StatusCode != want {
		return nil, nil, fmt.Errorf("%s %s: %s, not %d: %.300s", method, at.Path, answer.Status, want, content)
	}
	return answer.Header, content, nil
}

// closing is where an upload is closed.
func closing(location, digest string) string {
	mark := "?"
	if strings.Contains(location, "?") {
		mark = "&"
	}
	return location + mark + "digest=" + url.QueryEscape(digest)
}

// putBlob pushes by POST and PUT, as clients do with what is small.
func (c *client) putBlob(repository string, content []byte) error {
	header, _, err := c.do(http.MethodPost, "/v2/"+repository+"/blobs/uploads/", "", nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	_, _, err = c.do(http.MethodPut, closing(header.Get("Location"), digestOf(content)), "application/octet-stream", content, http.StatusCreated)
	return err
}

// streamBlob pushes by POST, PATCH and PUT, as Docker and containerd do with layers.
func (c *client) streamBlob(repository string, content []byte, digest string) error {
	header, _, err := c.do(http.MethodPost, "/v2/"+repository+"/blobs/uploads/", "", nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	header, _, err = c.do(http.MethodPatch, header.Get("Location"), "application/octet-stream", content, http.StatusAccepted)
	if err != nil {
		return err
	}
	_, _, err = c.do(http.MethodPut, closing(header.Get("Location"), digest), "", nil, http.StatusCreated)
	return err
}

// putArtifact pushes an artifact as oras does: its blob, a look for the configuration that is there already, the manifest by a tag.
func (c *client) putArtifact(repository, tag string, blob []byte) error {
	if err := c.putBlob(repository, blob); err != nil {
		return err
	}
	if _, _, err := c.do(http.MethodHead, "/v2/"+repository+"/blobs/"+digestOf(emptyConfig), "", nil, http.StatusOK); err != nil {
		return err
	}
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"artifactType":"application/vnd.regatta.bench",`+
		`"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":2},`+
		`"layers":[{"mediaType":"application/octet-stream","digest":%q,"size":%d}]}`,
		manifestType, digestOf(emptyConfig), digestOf(blob), len(blob))
	_, _, err := c.do(http.MethodPut, "/v2/"+repository+"/manifests/"+tag, manifestType, manifest, http.StatusCreated)
	return err
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// content is bytes that are the same for the same three numbers: two servers are given the same.
func content(size int, seed, client, n uint64) []byte {
	var key [32]byte
	for i := range 8 {
		key[i], key[8+i], key[16+i] = byte(seed>>(8*i)), byte(client>>(8*i)), byte(n>>(8*i))
	}
	bytes := make([]byte, size)
	// Reading from it never fails.
	_, _ = rand.NewChaCha8(key).Read(bytes)
	return bytes
}
