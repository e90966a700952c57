// What the visitor agreed to. A flag that nobody told is not there, and counts
// as a no.

import { mode } from "./site.js";

const names = ["analytics", "advertising", "functionality", "personalization"];
// Google's name of each.
const google = (name) => (name === "advertising" ? "ad" : name) + "_storage";

export const flags = {};

// The browser's own wish: data is neither sold nor shared, whatever else was
// said; and analytics need the visitor's own yes.
const gpc = navigator.globalPrivacyControl === true;
if (gpc) flags.gpc = true;

const set = (name, yes, own) => {
  flags[name] = yes && (!gpc || name === "functionality" || name === "analytics" && own);
};

// agree takes {functionality: true, …}: what the visitor chose.
export const agree = (given) => {
  for (const name of names) if (typeof given[name] === "boolean") set(name, given[name], true);
};

export const allowed = () => flags.functionality === true;
export const counted = () => allowed() && flags.analytics === true;

// start hears Google's consent mode, which is spoken in window.dataLayer.
export const start = (changed, follow) => {
  if (mode === "given") for (const name of names) set(name, true, false);
  if (mode !== "google") return;
  follow((entry) => {
    if (entry?.[0] !== "consent" || typeof entry[2] !== "object") return;
    for (const name of names) {
      const said = entry[2][google(name)];
      if (said) set(name, said === "granted", entry[1] === "update");
    }
    changed();
  });
};
