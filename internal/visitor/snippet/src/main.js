// parley.js: what a page loads. It starts nothing before the visitor has
// agreed, and fetches the vendor's widget only when it is told to.

import { base, key } from "./site.js";
import { later, on, safe, text, whenIdle } from "./safe.js";
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
let ready = false; // the page has been read

// ---- what the page may call

const commands = {
  consent: (given) => {
    consent.agree(given);
    decide();
  },
  track: (name, properties) => {
    if (over || !name || typeof name !== "string") return;
    if (config && consent.counted()) outbox.track(name, properties);
    else if (waiting.length < early) waiting.push([name, properties]);
  },
  // identify takes a JWT of the site's backend, or a function that returns one;
  // or {anonymous_id}, the id that the site's analytics knows the visitor by.
  identify: (who) => {
    if (who?.anonymous_id) {
      anonymous = "" + who.anonymous_id;
      if (begun) recall();
      who = who.token;
    }
    socket.say(who);
  },
  // reset makes the visitor somebody whom nobody knows: a logout.
  reset: () => {
    driver.unmount();
    outbox.drop();
    store.forget();
    anonymous = "";
    if (begun) recall();
    socket.say();
  },
};
let anonymous = "";

const recall = () => {
  store.recall();
  if (anonymous) store.record.id = anonymous;
  store.save();
};

const run = safe(([name, ...given]) => Object.hasOwn(commands, name) && commands[name](...given));

// ---- the beginning and the end

const decide = () => {
  if (over || !ready) return;
  if (consent.allowed() && !begun) begin();
  else if (!consent.allowed() && begun) revoke();
  else if (begun) socket.send({ t: "consent", consent: consent.flags });
  drainWaiting();
};

const drainWaiting = () => {
  if (config && consent.counted()) waiting.splice(0).forEach(safe((each) => outbox.track(...each)));
};

const begin = () => {
  begun = true;
  recall();
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
  lazy = false;
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
  fetch(base + "/v1/config/" + encodeURIComponent(key) + ".json", { credentials: "omit" })
    .then((answer) => {
      if (answer.ok) return answer.json();
      if (/40[34]/.test(answer.status)) return {};
      throw answer;
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
  let loaded = false;
  const load = () => {
    if (loaded || !begun || over) return;
    loaded = true;
    driver.boot(config);
  };
  lazy = true;
  if (config.load === "now") load();
  else if (config.load === "idle") {
    const idle = () => whenIdle(load, 1e4);
    if (document.readyState === "complete") idle();
    else on(window, "load", idle);
  }
  else if (config.load === "interaction") {
    // The driver boots once, however many of these there are.
    for (const type of ["pointerdown", "keydown", "scroll"]) on(window, type, load, { once: true, passive: true, capture: true });
  } else lazy = false;
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
  _frame: (frame) => Object.hasOwn(frames, frame.t) && frames[frame.t](frame),
  _patience: () => config.ping_ms || 25e3,
  _stop: stop,
});

tabs.attach({
  _own: () => begun && !over && socket.connect(),
  _disown: () => socket.close(true),
  _focus: socket.unpark,
  _quiet: calls.quiet,
  _revoked: () => {
    if (!begun) return;
    consent.agree({ functionality: false });
    revoke();
  },
});

for (const type of ["focus", "blur"]) on(window, type, () => socket.send({ t: "focus", on: tabs.focused() }));

// leave tells what is not told yet, and lets the page into the back/forward
// cache.
const leave = () => {
  if (!begun || over || !config) return;
  const rest = outbox.rest();
  const of = (kind) => rest.filter((each) => each.t === kind);
  let body;
  do body = text({ ...store.about(), bye: true, signals: of("signal"), tracks: of("track") });
  while (body.length > 44e3 && rest.pop());
  if (rest.length > 0 && store.record.token) navigator.sendBeacon(base + "/v1/beacon", body);
  socket.close(true);
  tabs.stop();
};
const back = () => begun && !over && config && tabs.start();

const start = () => {
  const queue = window.parley?.q || [];
  window.parley = function () {
    run(arguments);
  };
  for (const name in commands) window.parley[name] = (...list) => run([name, ...list]);
  window.parley.loaded = VERSION;
  if (!key) return;
  on(window, "pagehide", leave);
  on(window, "pageshow", (event) => event.persisted && back());
  on(document, "freeze", leave);
  on(document, "resume", back);
  routes.follow((url) => socket.send({ t: "page", url }));
  consent.start(() => decide(), layer.follow);
  for (const each of queue) run(each);
  // The page's own files come first, but not for ever.
  const go = () => whenIdle(() => {
    if (ready) return;
    ready = true;
    decide();
  }, 1000);
  if (document.readyState === "complete") go();
  else {
    on(window, "load", go);
    later(go, 5000);
  }
};

if (!window.parley?.loaded) safe(start)();
