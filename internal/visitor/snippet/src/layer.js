// window.dataLayer, as Google's tags use it: an array whose push is watched.

import { safe } from "./safe.js";

const followers = [];

// follow calls work with every entry: those that are there, and those to come.
export const follow = (given) => {
  const work = safe(given);
  const layer = (window.dataLayer ||= []);
  if (!followers.length) {
    const push = layer.push;
    layer.push = function () {
      const length = push.apply(this, arguments);
      for (const entry of arguments) for (const each of followers) each(entry);
      return length;
    };
  }
  followers.push(work);
  [...layer].forEach(work);
};
