// The gateway's calls. A command that was applied is not applied again: not on
// this page, not in another tab, not after a reload.

import { failure, later, safe, text } from "./safe.js";
import { answered, keep, record, save } from "./store.js";
import { send } from "./socket.js";
import { call } from "./driver.js";

const running = new Set(); // ids
const early = new Set(); // answered out of turn, above acked
let idle = []; // who waits until nothing runs

const most = 60 * 1024; // characters of an answer

const done = (frame, json, again) => {
  if (json.length > most) json = failure("page_answer_invalid", "too long an answer");
  const ok = json.startsWith('{"ok":true');
  if (ok && frame.key && !again) keep(frame.key, json);
  send({ t: "answer", id: frame.id, seq: frame.seq, ok, json, again: again || undefined });
  if (frame.seq > record.acked && frame.epoch === record.epoch) {
    early.add(frame.seq);
    while (early.delete(record.acked + 1)) record.acked++;
    save();
  }
};

export const run = (frame, driver) => {
  frame.epoch = record.epoch;
  const before = answered(frame.key);
  if (before) return done(frame, before, true);
  if (running.has(frame.id)) return undefined;
  running.add(frame.id);
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
    if (frame.key) call(driver, frame.name.replace(/[^/]*$/, "abandon"), text({ key: frame.key }));
    // The runtime ends the wait, and tells. What does not wait is left alone.
    later(() => finish(failure("deadline_exceeded", "too late")), 250);
  }, frame.deadline_ms);
  return call(driver, frame.name, frame.json).then(finish);
};

// reset begins a new numbering.
export const reset = () => early.clear();

// quiet resolves when nothing runs, or after 2 s.
export const quiet = () => new Promise((resolve) => {
  idle.push(resolve);
  later(resolve, running.size ? 2000 : 0);
});
