// The page's own analytics, heard in the page. Only the events that the site
// has named are sent, and not too many.

import { clock, safe } from "./safe.js";
import { counted } from "./consent.js";
import { follow } from "./layer.js";

let started = false;
let config = null;
let left = 0;
let filled = 0;
let track;

const take = safe((name, properties) => {
  if (!config || !counted() || typeof name !== "string" || !Object.hasOwn(config.events || {}, name)) return;
  const most = config.per_minute || 60;
  const now = clock();
  left = Math.min(most, left + (now - filled) * most / 6e4);
  filled = now;
  if (left < 1) return;
  left--;
  track(config.events[name], properties);
});

export const listen = (given, to) => {
  config = given;
  track = to;
  if (started || !config) return;
  started = true;
  left = config.per_minute || 60;
  filled = clock();
  if (config.data_layer) {
    follow((entry) => {
      if (!entry || typeof entry !== "object") return;
      // gtag pushes its arguments; the others push an object.
      if (entry[0] === "event") return take(entry[1], entry[2]);
      const { event, ...properties } = entry;
      return take(event, properties);
    });
  }
  const analytics = config.segment && window.analytics;
  if (!analytics) return;
  if (analytics.on) {
    analytics.on("track", take);
    return;
  }
  const real = analytics.track;
  analytics.track = function () {
    const value = real.apply(this, arguments);
    take(...arguments);
    return value;
  };
};
