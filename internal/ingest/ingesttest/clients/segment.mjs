// Sends COUNT events of every kind with Segment's own client, and prints the id of
// each as the client reports it: sent or given up.
import { Analytics } from "@segment/analytics-node";

const [host, writeKey, count] = process.argv.slice(2);
const analytics = new Analytics({
	writeKey,
	host,
	flushAt: 7,
	flushInterval: 50,
	maxRetries: 20,
	httpRequestTimeout: 2000,
});
const report = (ctx, error) =>
	console.log(JSON.stringify({ id: ctx?.event?.messageId ?? "", kind: ctx?.event?.type ?? "", ok: !error, error: error ? String(error?.reason ?? error) : "" }));
const sent = [];
const send = (call, message) =>
	sent.push(new Promise((done) => call.call(analytics, message, (error, ctx) => done(report(ctx, error)))));

for (let i = 0; i < Number(count); i++) {
	const userId = `user-${i % 3}`;
	const context = { page: { url: "https://shop.test/pricing" }, traits: { plan: "pro" } };
	send(analytics.track, { userId, event: "Pricing Viewed", properties: { i, price: 19.99, text: "<b>&\u2028" }, context });
	send(analytics.identify, { userId, anonymousId: `anon-${i % 3}`, traits: { email: `user-${i % 3}@shop.test`, n: i } });
	send(analytics.page, { anonymousId: `anon-${i % 3}`, category: "Shop", name: "Pricing", properties: { url: "https://shop.test/pricing" } });
	send(analytics.screen, { userId, name: "Home" });
	send(analytics.group, { userId, groupId: "acme", traits: { name: "Acme" } });
	send(analytics.alias, { userId: `alias-${i}`, previousId: `before-${i}` });
}
await Promise.all(sent);
await analytics.closeAndFlush({ timeout: 60000 });
