package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"strings"
)

// tokens: one for each of the users u0, u1, ..., who all have the same password. Written as values of Authorization, one a line.
func tokens(arguments []string) error {
	flags := flag.NewFlagSet("tokens", flag.ExitOnError)
	base := flags.String("base", "", "the registry's URL")
	users := flags.Int("users", 1000, "how many users")
	password := flags.String("password-file", "", "their password")
	repository := flags.String("repository", "", "what they may pull from")
	_ = flags.Parse(arguments)

	secret, err := os.ReadFile(*password)
	if err != nil {
		return err
	}
	c, err := newClient(*base)
	if err != nil {
		return err
	}
	query := url.Values{"service": {"regatta"}, "scope": {"repository:" + *repository + ":pull"}}
	out := bufio.NewWriter(os.Stdout)
	for n := range *users {
		login := fmt.Sprintf("u%d:%s", n, strings.TrimRight(string(secret), "\n"))
		c.authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(login))
		_, body, err := c.do("GET", "/token?"+query.Encode(), "", nil, 200)
		if err != nil {
			return err
		}
		var answer struct{ Token string }
		if err := json.Unmarshal(body, &answer); err != nil {
			return err
		}
		fmt.Fprintf(out, "Bearer %s\n", answer.Token)
	}
	return out.Flush()
}
