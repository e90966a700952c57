// Sends COUNT events of every kind with PostHog's own client, and prints the id of
// each once everything is sent.
import { PostHog } from "posthog-node";

const [host, key, count] = process.argv.slice(2);
const client = new PostHog(key, { host, flushAt: 7, flushInterval: 50, fetchRetryCount: 20, fetchRetryDelay: 100, requestTimeout: 2000 });
const ids = [];
client.on("error", (error) => console.error(String(error)));
const uuid = () => {
	const id = crypto.randomUUID();
	ids.push(id);
	return id;
};

for (let i = 0; i < Number(count); i++) {
	const distinctId = `user-${i % 3}`;
	client.capture({ distinctId, event: "Pricing Viewed", uuid: uuid(), properties: { i, $current_url: "https://shop.test/pricing", $set: { email: `user-${i % 3}@shop.test` } } });
	client.capture({ distinctId, event: "$pageview", uuid: uuid(), properties: { $current_url: "https://shop.test/pricing" } });
	client.capture({ distinctId, event: "$identify", uuid: uuid(), properties: { $anon_distinct_id: `anon-${i % 3}`, $set: { plan: "pro" } } });
}
await client.shutdown(60000);
for (const id of ids) console.log(JSON.stringify({ id, kind: "", ok: true, error: "" }));
