// Sends COUNT events of every kind with RudderStack's own client, and prints the
// id of each as the client reports it: sent or given up.
import Analytics from "@rudderstack/rudder-sdk-node";

const [dataPlaneUrl, writeKey, count] = process.argv.slice(2);
const analytics = new Analytics(writeKey, {
	dataPlaneUrl,
	flushAt: 7,
	flushInterval: 50,
	logLevel: "silly",
	retryCount: 20,
	timeout: 2000,
	axiosRetryConfig: { retries: 20, retryDelay: () => 100, shouldResetTimeout: true },
});
const sent = [];
let next = 0;
const send = (call, kind, message) => {
	const messageId = `rudder-${kind}-${next++}`;
	sent.push(
		new Promise((done) =>
			call.call(analytics, { messageId, ...message }, (error) => {
				console.log(JSON.stringify({ id: messageId, kind, ok: !error, error: error ? String(error) : "" }));
				done();
			}),
		),
	);
};

for (let i = 0; i < Number(count); i++) {
	const userId = `user-${i % 3}`;
	const context = { page: { url: "https://shop.test/pricing" } };
	send(analytics.track, "track", { userId, event: "Pricing Viewed", properties: { i, price: 19.99 }, context });
	send(analytics.identify, "identify", { userId, anonymousId: `anon-${i % 3}`, traits: { email: `user-${i % 3}@shop.test` } });
	send(analytics.page, "page", { userId, name: "Pricing" });
	send(analytics.screen, "screen", { userId, name: "Home" });
	send(analytics.group, "group", { userId, groupId: "acme", traits: { name: "Acme" } });
	send(analytics.alias, "alias", { userId: `alias-${i}`, previousId: `before-${i}` });
}
await Promise.all(sent);
process.exit(0);
