// Signals of the driver and tracks of the page, numbered together, kept until
// the gateway has stored them.

import { clock, text } from "./safe.js";
import { place } from "./site.js";
import { send } from "./socket.js";

const most = 200;
const longest = 32 * 1024; // characters

let n = 0;
let waiting = []; // frames with n, oldest first; tracks have at, when they happened

const frame = (entry) => {
  if (entry.at === undefined) return entry;
  const { at, ...rest } = entry;
  return { ...rest, age_ms: Math.round(clock() - at) };
};

const add = (entry) => {
  waiting.push(entry);
  if (waiting.length > most) {
    // Tracks go first: a signal is a fact of the chat.
    const track = waiting.findIndex((each) => each.t === "track");
    waiting.splice(track < 0 ? 0 : track, 1);
  }
  send(frame(entry));
};

export const signal = (json) => {
  if (json.length <= longest) add({ t: "signal", n: ++n, json });
};

// track throws what cannot be told in JSON; its callers are safe.
export const track = (name, properties) => {
  const json = text(properties || {});
  if (json.length <= longest) add({ t: "track", n: ++n, name: name.slice(0, 256), properties: JSON.parse(json), url: place(), at: clock() });
};

export const stored = (upTo) => {
  waiting = waiting.filter((entry) => entry.n > upTo);
};

export const resend = () => waiting.forEach((entry) => send(frame(entry)));

export const rest = () => waiting.map(frame);

export const drop = () => {
  waiting = [];
};
