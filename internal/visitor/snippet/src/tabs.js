// Many tabs, one connection: it belongs to the tab that has the lock, and the
// tab that the visitor looks at takes it over.

import { key, life } from "./site.js";
import { later, nothing, on, safe } from "./safe.js";
import { adopt, record, recall } from "./store.js";

const name = "parley-" + key;
const grace = 2500; // how long an owner may take to answer

let hooks; // what main does: _own, _disown, _focus, _quiet, _revoked
let active = false;
let release = null; // lets go of the lock, while we have it
let line = null; // our place in the line
let channel = null;
let robbery = 0;

export const focused = () => document.visibilityState === "visible" && document.hasFocus();

export const attach = (given) => {
  hooks = given;
  on(window, "focus", want);
  on(document, "visibilitychange", want);
};

export const owner = () => release !== null;

const own = (done) => {
  release = done;
  recall();
  hooks._own();
};

const lose = () => {
  if (!release) return;
  release = null;
  hooks._disown();
};

// stand stands in line for the lock, or takes it away from its owner.
const stand = (steal) => {
  line?.abort();
  const mine = (line = new AbortController());
  navigator.locks.request(name, steal ? { steal } : { signal: mine.signal }, () => new Promise(safe((done) => {
    if (line === mine && active) own(done);
    else done();
  }))).catch(nothing).then(safe(() => {
    if (line !== mine) return;
    lose(); // We were robbed, or called off.
    if (!active) return;
    stand();
    want(); // The visitor may have come back just now.
  }));
};

const tell = (message) => channel.postMessage(message);

// want asks the owner for the connection, when the visitor looks at this tab.
function want() {
  if (!active || !focused()) return;
  hooks._focus();
  if (owner()) return;
  tell({ want: life });
  clearTimeout(robbery);
  robbery = later(rob, grace);
}

const rob = () => {
  clearTimeout(robbery);
  if (active && !owner() && focused()) stand(true);
};

const hear = (message) => {
  if (message.want && owner()) {
    hooks._quiet().then(safe(() => {
      if (!owner()) return;
      hooks._disown();
      tell({ yours: message.want, record });
      // If it is not taken, it goes on to be ours.
      later(() => owner() && hooks._own(), 1000);
    }));
  }
  if (message.yours === life) {
    adopt(message.record);
    rob();
  }
  if (message.revoked) hooks._revoked();
};

export const start = () => {
  if (active) return;
  active = true;
  channel = new BroadcastChannel(name);
  channel.onmessage = safe((event) => hear(event.data));
  stand();
  want();
};

// stop lets everything go that would keep the page out of the back/forward
// cache.
export const stop = (revoked) => {
  if (!active) return;
  if (revoked) tell({ revoked: true });
  active = false;
  clearTimeout(robbery);
  const done = release;
  lose();
  done?.();
  line.abort();
  line = null;
  channel.close();
};
