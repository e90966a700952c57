// Nothing of ours may throw into the page: whatever the page, or the browser,
// calls goes through safe. Properties that begin with one _ are our own, and get
// short names.

export const safe = (work) => function () {
  try {
    return work.apply(this, arguments);
  } catch {
    // Nothing of ours is the page's concern.
  }
};

export const on = (target, type, work, options) => target.addEventListener(type, safe(work), options);

export const later = (work, ms) => setTimeout(safe(work), ms);

export const nothing = () => {};

// clock never jumps, and nobody can set it.
export const clock = () => performance.now();

export const text = (value) => JSON.stringify(value);

// random returns an id that nobody guesses.
export const random = () => crypto.randomUUID();

// failure is an answer as the page runtime writes it.
export const failure = (reason, message) => text({ ok: false, reason, message, field: "" });

// whenIdle waits until the page has a moment, but not for ever.
export const whenIdle = (work, timeout) => {
  if (window.requestIdleCallback) requestIdleCallback(safe(work), { timeout });
  else later(work, 200);
};
