// The Go client of Eclipse Paho, told what to do in JSON lines (see tests/interop/foreign.py).
package main

import (
	"bufio"
	"encoding/json"
	"os"
	"sync"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

type will struct {
	Topic   string `json:"topic"`
	Payload string `json:"payload"`
	Qos     byte   `json:"qos"`
	Retain  bool   `json:"retain"`
}

type command struct {
	Do       string `json:"do"`
	URL      string `json:"url"`
	ClientID string `json:"client_id"`
	Clean    bool   `json:"clean"`
	Will     *will  `json:"will"`
	Filter   string `json:"filter"`
	Topic    string `json:"topic"`
	Payload  string `json:"payload"`
	Qos      byte   `json:"qos"`
	Retain   bool   `json:"retain"`
}

var output sync.Mutex

func say(value any) {
	output.Lock()
	defer output.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(value)
}

func done(token mqtt.Token) {
	token.Wait()
	if err := token.Error(); err != nil {
		say(map[string]any{"error": err.Error()})
		return
	}
	say(map[string]any{"done": true})
}

func received(_ mqtt.Client, message mqtt.Message) {
	say(map[string]any{"message": map[string]any{
		"topic": message.Topic(), "payload": string(message.Payload()),
		"qos": message.Qos(), "retain": message.Retained(),
	}})
}

func connect(c command) mqtt.Client {
	options := mqtt.NewClientOptions().AddBroker(c.URL).SetClientID(c.ClientID).SetProtocolVersion(4)
	options.SetCleanSession(c.Clean).SetAutoReconnect(false).SetDefaultPublishHandler(received)
	if c.Will != nil {
		options.SetWill(c.Will.Topic, c.Will.Payload, c.Will.Qos, c.Will.Retain)
	}
	client := mqtt.NewClient(options)
	done(client.Connect())
	return client
}

func main() {
	var client mqtt.Client
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			panic(err)
		}
		switch c.Do {
		case "connect":
			client = connect(c)
		case "subscribe":
			done(client.Subscribe(c.Filter, c.Qos, nil))
		case "publish":
			done(client.Publish(c.Topic, c.Qos, c.Retain, c.Payload))
		case "disconnect":
			client.Disconnect(100)
			say(map[string]any{"done": true})
		}
	}
}
