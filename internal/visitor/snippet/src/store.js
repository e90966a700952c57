// What the browser keeps between documents: one record, only while the visitor
// has allowed it. Where the browser has no storage, it lives in memory.

import { key, life, place } from "./site.js";
import { random, text } from "./safe.js";

const name = "parley:" + key;
const most = 100; // answers
const longest = 4096; // characters of an answer that is worth a place

export let record = {};

const area = (kind, work) => {
  try {
    return work(window[kind]);
  } catch {
    // Storage is forbidden, or full.
  }
};

// recall reads what another tab or an earlier document has left.
export const recall = () => {
  const kept = area("localStorage", (s) => JSON.parse(s.getItem(name)));
  if (kept) record = kept;
  record.id ||= random();
  record.answers ||= [];
  record.acked ||= 0;
};

export const adopt = (other) => {
  if (other?.id) record = other;
  save();
};

export const save = () => area("localStorage", (s) => s.setItem(name, text(record)));

// tab is the same in all documents of one tab.
export const tab = () => area("sessionStorage", (s) => {
  const id = s.getItem(name) || life;
  s.setItem(name, id);
  return id;
}) || life;

// about is what a hello and a beacon begin with.
export const about = () => ({ v: 1, key, token: record.token, life, tab: tab(), url: place(), at_ms: Date.now() });

export const forget = () => {
  record = {};
  area("localStorage", (s) => s.removeItem(name));
  area("sessionStorage", (s) => s.removeItem(name));
};

// The table of what was applied: effect key and answer, oldest first.
export const answered = (effect) => record.answers.find((entry) => entry[0] === effect)?.[1];

export const keep = (effect, json) => {
  if (json.length > longest) json = '{"ok":true,"value":null}';
  record.answers.push([effect, json]);
  if (record.answers.length > most) record.answers.shift();
  save();
};
