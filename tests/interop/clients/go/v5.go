package main

import (
	"context"
	"net"
	"net/url"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

const patience = 5 * time.Second

// MQTT 5, over TCP.
type client5 struct{ *paho.Client }

func connect5(c command) (client, error) {
	address, err := url.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	connection, err := net.Dial("tcp", address.Host)
	if err != nil {
		return nil, err
	}
	router := paho.NewSingleHandlerRouter(func(message *paho.Publish) { received(fromGo(message)) })
	made := client5{paho.NewClient(paho.ClientConfig{Conn: connection, Router: router})}
	packet := &paho.Connect{
		ClientID: c.ClientID, CleanStart: c.Clean, KeepAlive: 60,
		Properties: &paho.ConnectProperties{SessionExpiryInterval: &c.ExpiryS},
	}
	if c.Will != nil {
		packet.WillMessage = &paho.WillMessage{
			Topic: c.Will.Topic, Payload: []byte(c.Will.Payload), QoS: c.Will.Qos, Retain: c.Will.Retain,
		}
		packet.WillProperties = &paho.WillProperties{}
	}
	limit, end := context.WithTimeout(context.Background(), patience)
	defer end()
	_, err = made.Connect(limit, packet)
	return made, err
}

func fromGo(message *paho.Publish) publication {
	found := publication{message.Topic, string(message.Payload), message.QoS, message.Retain, nil}
	if given := message.Properties; given != nil && given.ContentType != "" {
		users := map[string]string{}
		for _, pair := range given.User {
			users[pair.Key] = pair.Value
		}
		found.Properties = &properties{given.ContentType, given.ResponseTopic, string(given.CorrelationData), users}
	}
	return found
}

func (c client5) subscribe(filter string, qos byte) error {
	limit, end := context.WithTimeout(context.Background(), patience)
	defer end()
	_, err := c.Subscribe(limit, &paho.Subscribe{Subscriptions: map[string]paho.SubscribeOptions{filter: {QoS: qos}}})
	return err
}

func (c client5) publish(message publication) error {
	packet := &paho.Publish{
		Topic: message.Topic, Payload: []byte(message.Payload), QoS: message.Qos, Retain: message.Retain,
	}
	if given := message.Properties; given != nil {
		packet.Properties = &paho.PublishProperties{
			ContentType: given.ContentType, ResponseTopic: given.ResponseTopic,
			CorrelationData: []byte(given.Correlation),
		}
		for key, value := range given.User {
			packet.Properties.User.Add(key, value)
		}
	}
	limit, end := context.WithTimeout(context.Background(), patience)
	defer end()
	_, err := c.Publish(limit, packet)
	return err
}

// The library may take long to end its own affairs once it has said good-bye.
func (c client5) disconnect() error {
	said := make(chan error, 1)
	go func() { said <- c.Disconnect(&paho.Disconnect{}) }()
	select {
	case err := <-said:
		return err
	case <-time.After(time.Second):
		return nil
	}
}
