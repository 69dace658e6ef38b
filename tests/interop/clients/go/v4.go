package main

import (
	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// MQTT 3.1.1.
type client4 struct{ mqtt.Client }

func wait(token mqtt.Token) error {
	token.Wait()
	return token.Error()
}

func connect4(c command) (client, error) {
	secrets, err := tlsConfig(c)
	if err != nil {
		return nil, err
	}
	options := mqtt.NewClientOptions().AddBroker(c.URL).SetClientID(c.ClientID).SetProtocolVersion(4)
	options.SetCleanSession(c.Clean).SetAutoReconnect(false).SetTLSConfig(secrets)
	options.SetDefaultPublishHandler(func(_ mqtt.Client, message mqtt.Message) {
		received(publication{message.Topic(), string(message.Payload()), message.Qos(), message.Retained(), nil})
	})
	if c.Will != nil {
		options.SetWill(c.Will.Topic, c.Will.Payload, c.Will.Qos, c.Will.Retain)
	}
	made := client4{mqtt.NewClient(options)}
	return made, wait(made.Connect())
}

func (c client4) subscribe(filter string, qos byte) error {
	return wait(c.Subscribe(filter, qos, nil))
}

func (c client4) publish(message publication) error {
	return wait(c.Publish(message.Topic, message.Qos, message.Retain, message.Payload))
}

func (c client4) disconnect() error {
	c.Disconnect(100)
	return nil
}
