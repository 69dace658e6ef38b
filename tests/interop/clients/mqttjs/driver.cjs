// MQTT.js, told what to do in JSON lines (see tests/interop/foreign.py).
"use strict";
const fs = require("fs");
const mqtt = require("mqtt");
const readline = require("readline");

const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const done = (error) => say(error ? { error: String(error) } : { done: true });
const read = (path) => path && fs.readFileSync(path);
let client;

const toJs = (properties) => !properties ? undefined : {
  contentType: properties.content_type,
  responseTopic: properties.response_topic,
  correlationData: Buffer.from(properties.correlation),
  userProperties: properties.user,
};
const fromJs = (properties) => properties && {
  content_type: properties.contentType,
  response_topic: properties.responseTopic,
  correlation: properties.correlationData && properties.correlationData.toString(),
  user: properties.userProperties && { ...properties.userProperties },
};

const operations = {
  connect({ url, client_id, version, clean, expiry_s, will, ca, certificate }) {
    client = mqtt.connect(url, {
      clientId: client_id,
      protocolVersion: version,
      clean,
      ca: read(ca),
      cert: read(certificate),
      key: read(certificate),
      resubscribe: false,
      reconnectPeriod: 0,
      properties: version === 5 ? { sessionExpiryInterval: expiry_s } : undefined,
      will: will && { topic: will.topic, payload: Buffer.from(will.payload), qos: will.qos, retain: will.retain },
    });
    client.once("connect", () => done());
    client.once("error", done);
    client.on("message", (topic, payload, packet) => say({
      message: {
        topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain,
        properties: fromJs(packet.properties),
      },
    }));
  },
  subscribe: ({ filter, qos }) => client.subscribe(filter, { qos }, done),
  publish: ({ topic, payload, qos, retain, properties }) =>
    client.publish(topic, payload, { qos, retain, properties: toJs(properties) }, done),
  disconnect: () => client.end(false, {}, done),
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const command = JSON.parse(line);
  operations[command.do](command);
});
