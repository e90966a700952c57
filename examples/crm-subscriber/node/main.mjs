// Reads what happens in chats from Parley's bus, as CloudEvents, and prints one
// line for each. Put your CRM where it prints.
import { readFileSync } from "node:fs";
import { AckPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect, credsAuthenticator } from "@nats-io/transport-node";

const creds = process.env.NATS_CREDS;
const nc = await connect({
  servers: process.env.NATS_URL,
  name: "crm-subscriber",
  inboxPrefix: "_INBOX_crm",
  user: process.env.NATS_USER,
  pass: process.env.NATS_PASSWORD,
  authenticator: creds ? credsAuthenticator(readFileSync(creds)) : undefined,
});
// Durable: it goes on where it was, also after a restart.
const manager = await jetstreamManager(nc, { checkAPI: false });
await manager.consumers.add("EVT", {
  durable_name: "crm-subscriber", filter_subject: "evt.>", ack_policy: AckPolicy.Explicit, max_ack_pending: 256,
});
const consumer = await jetstream(nc, { checkAPI: false }).consumers.get("EVT", "crm-subscriber");
const messages = await consumer.consume();
process.on("SIGINT", () => messages.close().then(() => nc.drain()));

for await (const m of messages) {
  try {
    const data = m.json();
    const ce = (name) => m.headers?.get(`ce-${name}`) ?? "";
    // Each comes at least once: write by a key, so that a repetition changes nothing.
    console.log(`${ce("time")} ${ce("type")} ${data.site}/${data.session} by ${data.cause} (${ce("id")})`);
    m.ack();
  } catch (err) {
    console.error("again later:", err.message);
    m.nak(5000);
  }
}
