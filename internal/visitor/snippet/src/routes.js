// The page's address, where it changes without a new document.

import { on, safe } from "./safe.js";
import { place } from "./site.js";

export const follow = (changed) => {
  let last = place();
  const look = safe(() => {
    const now = place();
    if (now !== last) changed((last = now));
  });
  if (window.navigation) {
    on(window.navigation, "currententrychange", look);
    return;
  }
  for (const name of ["pushState", "replaceState"]) {
    const real = history[name];
    history[name] = function () {
      const value = real.apply(this, arguments);
      look();
      return value;
    };
  }
  on(window, "popstate", look);
};
