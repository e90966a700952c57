// What nobody outside BotStar knows about its page scripts, and what the
// stand-in does instead. This is the only script that may change when a live
// account tells us more; the server's share is in unknown.go. Sections are
// those of the BotStar contract.
const unknown = {
  // §1.9, parent and frame messages: the source that marks ours.
  source: "bs-standin",

  // §2, transport between a webview page and its host: private to our SDK.
  webviewSource: "bs-standin-webview",
  webviewHost: "bs-standin-host",

  // §1.9, frame boot request; and the reports of the frame, which the real
  // frame sends over a live transport of its own.
  queryPath: "/api/query",
  eventPath: "/api/event",

  // §1.8 and §1.9, storage: the key on the widget's origin. Only a visitor
  // without user_id has one.
  anonymousKey: "bs-standin-anonymous-id",

  // §1.5 and §11 question 6, the mark of an open window: active__… on the
  // container, plus an attribute whose name does not change.
  markOpen(container, activeClass, open) {
    container.classList.toggle(activeClass, open);
    container.setAttribute("data-open", String(open));
  },

  // §1.3, unknown method, bad argument, wrong mode: nothing happens but a
  // warning. The API never throws.
  refuse(why) {
    console.warn("BotStar: " + why);
  },

  // §11 question 8: listeners get no argument. §10 row 6: one that throws does
  // not stop the others; its error is reported as any uncaught error is.
  fire(listeners) {
    for (const listener of listeners.slice()) {
      try {
        listener();
      } catch (error) {
        reportError(error);
      }
    }
  },

  // §1.3, when the effect of a call is seen: after the calling code has ended,
  // as with any interface that renders in a microtask. A second open of an open
  // window changes nothing, so no listener hears of it.
  later(render) {
    Promise.resolve().then(render);
  },

  // §1.3 and §11 question 7, boot: fields that are null or unset are ignored,
  // each other field replaces the old one as a whole, so that one person's data
  // never mixes with the next one's. A new mode has no effect (§1.6).
  reboot(config, settings) {
    const next = Object.assign({}, config);
    for (const key of ["appId", "user", "variables", "block"]) {
      if (settings[key] !== null && settings[key] !== undefined) {
        next[key] = settings[key];
      }
    }
    return next;
  },

  // §1.3, how boot renews the frame: the element is the same, its window is a
  // new one. What waited for the old frame is dropped with it, so that it does
  // not reach the next person; calls of the queue wait for the first frame.
  navigate(view, src) {
    if (view.frame.src) {
      const parent = view.frame.parentNode;
      view.frame.remove();
      view.ready = false;
      view.waiting = [];
      view.frame.src = src;
      parent.prepend(view.frame);
    } else {
      view.frame.src = src;
    }
  },

  // §1.3, the argument of update: flat attributes, or the nested form of the
  // settings. Both are taken.
  attributesOf(arg) {
    const nested = (key) => arg[key] !== null && typeof arg[key] === "object" && !Array.isArray(arg[key]);
    if (nested("user") || nested("variables")) {
      return { attributes: nested("user") ? arg.user : {}, variables: nested("variables") ? arg.variables : {} };
    }
    return { attributes: arg, variables: {} };
  },

  // §1.6, several inline frames: every one shows the conversation, the first
  // one reports for all.
  reports(index) {
    return index === 0;
  },

  // §2, the error texts of the webview SDK.
  webviewErrors: {
    outside: "BotStarWebview: the page is not opened by a bot",
    response: "BotStarWebview: the response must be a string",
    outputs: "BotStarWebview: the outputs must be an object",
    output: (name) => 'BotStarWebview: the output "' + name + '" is not declared',
    value: (name) => 'BotStarWebview: the output "' + name + '" must be a string or a number',
    outlet: (name) => 'BotStarWebview: the outlet "' + name + '" is not declared',
  },
};
