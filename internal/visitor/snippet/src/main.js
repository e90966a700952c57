// parley.js: what a page loads. It starts nothing before the visitor has
// agreed, and fetches the vendor's widget only when it is told to.

import { base, key, life, place } from "./site.js";
import { later, nothing, on, safe, text } from "./safe.js";
import * as consent from "./consent.js";
import * as driver from "./driver.js";
import * as layer from "./layer.js";
import { listen } from "./listener.js";
import * as outbox from "./outbox.js";
import * as routes from "./routes.js";
import * as socket from "./socket.js";
import * as store from "./store.js";
import * as tabs from "./tabs.js";
import * as calls from "./calls.js";

const early = 50; // calls of track that wait for consent

let config = null;
let over = false; // nothing more in this page life
let begun = false;
let asked = 0;
let tries = 0;
let waiting = [];
let lazy = false;

// ---- what the page may call

const commands = {
  consent: (given) => {
    consent.agree(given);
    decide();
  },
  track: (name, properties) => {
    if (over) return;
    if (config && consent.counted()) outbox.track(name, properties);
    else if (waiting.length < early) waiting.push([name, properties]);
  },
  // identify takes a JWT of the site's backend, or a function that returns one;
  // or {anonymous_id}, the id that the site's analytics knows the visitor by.
  identify: (who) => {
    if (who && who.anonymous_id) {
      anonymous = "" + who.anonymous_id;
      if (begun) store.record.id = anonymous;
      if (who.token === undefined) return socket.say(nothing);
      who = who.token;
    }
    return socket.say(who);
  },
  // reset makes the visitor somebody whom nobody knows: a logout.
  reset: () => {
    driver.unmount();
    outbox.drop();
    store.forget();
    if (begun) store.recall();
    socket.say(nothing);
  },
};
let anonymous = "";

const run = safe((list) => commands[list[0]] && commands[list[0]](...Array.prototype.slice.call(list, 1)));

// ---- the beginning and the end

const decide = () => {
  if (over) return;
  if (consent.allowed() && !begun) begin();
  else if (!consent.allowed() && begun) revoke();
  else if (begun) socket.send({ t: "consent", consent: consent.flags });
  drainWaiting();
};

const drainWaiting = () => {
  if (config && consent.counted()) waiting.splice(0).forEach((each) => outbox.track(...each));
};

const begin = () => {
  begun = true;
  store.recall();
  if (anonymous) store.record.id = anonymous;
  store.save();
  if (config) apply(config);
  else fetchConfig();
};

// revoke is the visitor's no: everything is closed, cleared and stopped.
const revoke = () => {
  begun = false;
  socket.send({ t: "consent", consent: consent.flags });
  socket.close(true);
  tabs.stop(true);
  driver.unmount();
  outbox.drop();
  waiting = [];
  store.forget();
};

// stop is the gateway's no. It holds for this page life.
const stop = () => {
  over = true;
  socket.close(true);
  tabs.stop();
  outbox.drop();
  waiting = [];
};

const fetchConfig = () => {
  clearTimeout(asked);
  fetch(base + "/v1/config/" + encodeURIComponent(key) + ".json", { credentials: "omit", referrerPolicy: "origin" })
    .then((answer) => {
      if (answer.status === 403 || answer.status === 404) return { enabled: false };
      return answer.json();
    })
    .then(safe((given) => begun && !config && apply(given)), safe(() => {
      asked = later(() => begun && !over && fetchConfig(), Math.random() * Math.min(6e4, 1000 * 2 ** tries++));
    }));
};

// apply is told the configuration, at the beginning and when it changes.
const apply = (given) => {
  config = given;
  if (!config.enabled) return stop();
  listen(config.analytics, commands.track);
  drainWaiting();
  tabs.start();
  if (!lazy) widget();
  return undefined;
};

// widget loads the vendor's widget when the site wants it.
const widget = () => {
  const load = () => begun && !over && driver.boot(config);
  lazy = true;
  if (config.load === "now") load();
  else if (config.load === "idle") whenIdle(load, 1e4);
  else if (config.load === "interaction") {
    let first = () => {
      first = nothing;
      load();
    };
    for (const type of ["pointerdown", "keydown", "scroll", "touchstart"]) on(window, type, () => first(), { once: true, passive: true, capture: true });
  } else lazy = false;
};

const whenIdle = (work, timeout) => {
  const go = () => (window.requestIdleCallback ? requestIdleCallback(safe(work), { timeout }) : later(work, 200));
  if (document.readyState === "complete") go();
  else on(window, "load", go);
};

// ---- the gateway's frames

const frames = {
  welcome: (frame) => {
    calls.reset();
    outbox.stored(frame.n || 0);
    outbox.resend();
    if (frame.config) apply(frame.config);
  },
  call: (frame) => calls.run(frame, config.driver),
  ack: (frame) => outbox.stored(frame.n),
  config: (frame) => apply(frame.config),
  stop,
};

socket.attach({
  frame: (frame) => Object.hasOwn(frames, frame.t) && frames[frame.t](frame),
  patience: () => config.ping_ms || 25e3,
  stop,
});

tabs.attach({
  own: () => begun && !over && socket.connect(),
  disown: () => socket.close(true),
  focus: () => {
    socket.send({ t: "focus", on: true });
    if (tabs.owner()) socket.unpark();
  },
  quiet: calls.quiet,
  revoked: () => {
    if (!begun) return;
    consent.agree({ functionality: false });
    revoke();
  },
});

on(window, "blur", () => socket.send({ t: "focus", on: tabs.focused() }));
on(document, "visibilitychange", () => tabs.focused() || socket.send({ t: "focus", on: false }));

// leave tells what is not told yet, and lets the page into the back/forward
// cache.
const leave = () => {
  if (!begun || over || !config) return;
  const rest = outbox.rest();
  if (rest.length > 0 && store.record.token !== undefined) {
    navigator.sendBeacon(base + "/v1/beacon", text({
      v: 1, key, token: store.record.token, life, tab: store.tab() || life, url: place(), at_ms: Date.now(), bye: true,
      signals: rest.filter((each) => each.t === "signal"), tracks: rest.filter((each) => each.t === "track"),
    }));
  }
  socket.close(true);
  tabs.stop();
};
const back = () => begun && !over && config && tabs.start();

const start = () => {
  const queue = window.parley && window.parley.q || [];
  window.parley = function () {
    run(arguments);
  };
  for (const name of Object.keys(commands)) window.parley[name] = (...list) => run([name, ...list]);
  window.parley.loaded = VERSION;
  if (!key || !base) return;
  on(window, "pagehide", leave);
  on(window, "pageshow", (event) => event.persisted && back());
  on(document, "freeze", leave);
  on(document, "resume", back);
  routes.follow((url) => socket.send({ t: "page", url, title: document.title.slice(0, 256) }));
  consent.start(() => decide(), layer.follow);
  for (const each of queue) run(each);
  whenReady(decide);
};

// whenReady waits until the page has been read, and has a moment.
const whenReady = (work) => {
  const go = () => (window.requestIdleCallback ? requestIdleCallback(safe(work), { timeout: 1000 }) : later(work, 0));
  if (document.readyState === "loading") on(document, "DOMContentLoaded", go);
  else go();
};

if (!(window.parley && window.parley.loaded)) safe(start)();
