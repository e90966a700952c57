// Nothing of ours may throw into the page: whatever the page, or the browser,
// calls goes through safe.

export const safe = (work) => function () {
  try {
    return work.apply(this, arguments);
  } catch {
    return undefined;
  }
};

export const on = (target, type, work, options) => target.addEventListener(type, safe(work), options || { passive: true });

export const later = (work, ms) => setTimeout(safe(work), ms);

export const nothing = () => {};

// clock never jumps, and nobody can set it.
export const clock = () => performance.now();

export const text = (value) => JSON.stringify(value);

// random returns an id that nobody guesses: 22 characters, 128 bits.
export const random = () => {
  let id = "";
  for (const byte of crypto.getRandomValues(new Uint8Array(22))) id += "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[byte & 63];
  return id;
};
