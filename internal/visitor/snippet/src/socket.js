// The one connection. It comes again by itself, with jitter, as long as this
// tab owns it.

import { base, place } from "./site.js";
import { clock, later, nothing, on, safe, text } from "./safe.js";
import { flags } from "./consent.js";
import { about, record, save } from "./store.js";
import { focused } from "./tabs.js";

let socket = null;
let welcomed = false;
let since = 0; // when the connection was opened
let heard = 0; // when something came last
let tries = 0;
let timer = 0; // of the next connection
let beat = 0; // of the next look at the silence
let told; // the hello
let asked = false; // a ping is not answered yet
let drain = 0;
let refusals = 0;
let parked = false; // it comes again with the focus, or not at all
let wanted = false;
let identity = nothing; // returns the site's word for who is logged in
let hooks;

export const attach = (given) => {
  hooks = given;
  on(window, "online", () => wanted && connect());
};

export const send = (frame) => {
  if (welcomed) socket.send(text(frame));
};

// say makes the page known under another name: a JWT, a function that returns
// one, or a promise of it.
export const say = (who) => {
  identity = typeof who === "function" ? who : () => who;
  record.token = undefined;
  refusals = 0;
  again();
};

export const again = () => {
  parked = false;
  if (!wanted) return;
  close();
  connect();
};

export const connect = () => {
  wanted = true;
  clearTimeout(timer);
  if (socket || parked || !navigator.onLine) return;
  const mine = (socket = { close: nothing });
  const asked = new Promise((resolve) => {
    later(resolve, 1e4);
    resolve(identity());
  });
  asked.catch(nothing).then(safe((who) => {
    if (socket !== mine) return;
    if (typeof who !== "string") who = undefined;
    const ws = (socket = new WebSocket(base.replace(/^http/, "ws") + "/v1/socket"));
    ws.onopen = safe(() => hello(ws, who));
    ws.onmessage = safe((event) => socket === ws && hear(event.data));
    ws.onclose = safe((event) => {
      if (socket === ws) lost(event.code);
    });
    since = heard = clock();
  }));
};

const hello = (ws, who) => {
  asked = false;
  if (who) record.token = undefined; // Who is logged in is a better word.
  told = {
    ...about(), t: "hello", identity: who, anonymous_id: record.id, epoch: record.epoch, acked: record.acked, focused: focused(), consent: flags, snippet: VERSION,
  };
  ws.send(text(told));
  record.token = undefined; // It was good for one connection.
  look();
};

const hear = (data) => {
  const frame = JSON.parse(data);
  heard = clock();
  if (asked) look((asked = false));
  if (frame.t === "welcome") {
    welcomed = true;
    refusals = 0;
    record.token = frame.token;
    if (record.epoch !== frame.epoch) {
      record.epoch = frame.epoch;
      record.acked = 0;
    }
    save();
    // What has changed since the hello was not told.
    if (told.url !== place()) send({ t: "page", url: place() });
    if (told.focused !== focused()) send({ t: "focus", on: focused() });
  }
  if (frame.t === "drain") {
    drain = frame.after_ms;
    timer = later(again, Math.random() * drain);
  }
  hooks._frame(frame);
};

// look asks for a sign of life when nothing was heard for long.
const look = () => {
  clearTimeout(beat);
  const silence = clock() - heard;
  const patience = hooks._patience();
  if (asked) return lost();
  if ((asked = silence >= patience)) send({ t: "ping" });
  beat = later(look, asked ? 1e4 : patience - silence);
};

// close lets the connection go, for good or until connect.
export const close = (parting) => {
  const was = socket;
  if (parting) {
    send({ t: "bye" });
    wanted = false;
    clearTimeout(timer);
  }
  socket = null;
  welcomed = false;
  clearTimeout(beat);
  was?.close();
};

const lost = (code) => {
  close();
  if (!wanted) return;
  if (clock() - since > 1e4) tries = 0;
  let wait = Math.random() * Math.min(6e4, 500 * 2 ** tries++);
  if (drain) wait = Math.random() * drain;
  drain = 0;
  if (/100[2789]/.test(code)) wait = 3e4 + Math.random() * 3e4;
  if (code === 4401) {
    record.token = undefined;
    parked = refusals++ > 0;
    wait = 0;
  }
  if (code === 4403) hooks._stop();
  if (code === 4409) parked = true;
  if (!parked && wanted) timer = later(connect, wait);
};

// unpark connects again when a newer connection had taken the place.
export const unpark = () => {
  if (parked && refusals < 2) again();
};
