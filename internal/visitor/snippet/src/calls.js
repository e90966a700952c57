// The gateway's calls. A command that was applied is not applied again: not on
// this page, not in another tab, not after a reload.

import { clock, later, safe, text } from "./safe.js";
import { answered, keep, record, save } from "./store.js";
import { send } from "./socket.js";
import { call } from "./driver.js";

const running = new Map(); // by id
const early = new Set(); // answered out of turn, above acked
let idle = []; // who waits until nothing runs

const most = 60 * 1024; // characters of an answer

const done = (frame, json, again) => {
  if (json.length > most) json = '{"ok":false,"reason":"page_answer_invalid","message":"the answer is too long","field":""}';
  const ok = json.startsWith('{"ok":true');
  if (ok && frame.key && !again) keep(frame.key, json);
  send({ t: "answer", id: frame.id, seq: frame.seq, ok, json, again: again || undefined });
  if (frame.seq > (record.acked || 0) && frame.epoch === record.epoch) {
    early.add(frame.seq);
    while (early.delete((record.acked || 0) + 1)) record.acked = (record.acked || 0) + 1;
    save();
  }
};

export const run = (frame, driver) => {
  frame.epoch = record.epoch;
  const before = answered(frame.key);
  if (before) return done(frame, before, true);
  if (running.has(frame.id)) return undefined;
  running.set(frame.id, frame);
  const end = clock() + frame.deadline_ms;
  let over = false;
  const finish = safe((json) => {
    if (over) return;
    over = true;
    clearTimeout(timer);
    running.delete(frame.id);
    done(frame, json);
    if (!running.size) idle.splice(0).forEach((each) => each());
  });
  const timer = later(() => {
    if (frame.key) call(driver, "abandon", text({ key: frame.key }));
    // The runtime ends the wait, and tells. What does not wait is left alone.
    later(() => finish('{"ok":false,"reason":"deadline_exceeded","message":"the page took too long","field":""}'), 250);
  }, Math.max(0, end - clock()));
  return call(driver, frame.name, frame.json).then(finish);
};

// reset begins a new numbering.
export const reset = () => early.clear();

// quiet resolves when nothing runs, or after 2 s.
export const quiet = () => new Promise((resolve) => {
  if (!running.size) return resolve();
  idle.push(resolve);
  return later(resolve, 2000);
});
