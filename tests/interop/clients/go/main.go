// The two Go clients of Eclipse Paho (3.1.1 and 5), told what to do in JSON lines (see tests/interop/foreign.py).
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"os"
	"sync"
)

type properties struct {
	ContentType   string            `json:"content_type"`
	ResponseTopic string            `json:"response_topic"`
	Correlation   string            `json:"correlation"`
	User          map[string]string `json:"user"`
}

type publication struct {
	Topic      string      `json:"topic"`
	Payload    string      `json:"payload"`
	Qos        byte        `json:"qos"`
	Retain     bool        `json:"retain"`
	Properties *properties `json:"properties"`
}

type command struct {
	publication
	Do          string       `json:"do"`
	URL         string       `json:"url"`
	ClientID    string       `json:"client_id"`
	Version     int          `json:"version"`
	Clean       bool         `json:"clean"`
	ExpiryS     uint32       `json:"expiry_s"`
	Will        *publication `json:"will"`
	Filter      string       `json:"filter"`
	Ca          string       `json:"ca"`
	Certificate string       `json:"certificate"`
}

// A client, connected. Every method returns after the server's last word.
type client interface {
	subscribe(filter string, qos byte) error
	publish(message publication) error
	disconnect() error
}

var output sync.Mutex

func say(value any) {
	output.Lock()
	defer output.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(value)
}

func received(message publication) {
	say(map[string]any{"message": message})
}

func done(err error) {
	if err != nil {
		say(map[string]any{"error": err.Error()})
		return
	}
	say(map[string]any{"done": true})
}

// Nil where the command names no certificate.
func tlsConfig(c command) (*tls.Config, error) {
	if c.Certificate == "" {
		return nil, nil
	}
	authority, err := os.ReadFile(c.Ca)
	if err != nil {
		return nil, err
	}
	own, err := tls.LoadX509KeyPair(c.Certificate, c.Certificate)
	if err != nil {
		return nil, err
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(authority)
	return &tls.Config{RootCAs: trusted, Certificates: []tls.Certificate{own}}, nil
}

func connect(c command) (client, error) {
	if c.Version == 5 {
		return connect5(c)
	}
	return connect4(c)
}

func main() {
	var current client
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var c command
		err := json.Unmarshal(lines.Bytes(), &c)
		if err == nil {
			switch c.Do {
			case "connect":
				current, err = connect(c)
			case "subscribe":
				err = current.subscribe(c.Filter, c.Qos)
			case "publish":
				err = current.publish(c.publication)
			case "disconnect":
				err = current.disconnect()
			}
		}
		done(err)
	}
}
