// Chunk 0: the interface. It renders the frame and the launcher, takes over the
// queue of calls, and speaks with the frame.
window.BSWidgetClientJsonp([0], { mount });

function mount(widget) {
  const c = build.classes;
  const state = { config: widget.config, open: widget.config.mode === "fullpage" || widget.config.mode === "inline" };
  const listeners = { open: [], close: [] };
  let faults = {};

  addStyle();
  const views = widget.targets.map(view);
  window.addEventListener("message", receive);
  takeOver();
  load();

  // view renders one frame, and its launcher where the mode has one.
  function view(target, index) {
    const inner = document.createElement("div");
    inner.className = "";
    const frame = document.createElement("iframe");
    frame.id = frame.className = c["bs-chatbot-frame"];
    frame.name = "bs-chatbot-widget-frame";
    for (const [name, value] of [["frameborder", "0"], ["allowfullscreen", "true"], ["allowtransparency", "true"], ["autoplay", "true"]]) {
      frame.setAttribute(name, value);
    }
    inner.appendChild(frame);
    if (!widget.headless) {
      inner.appendChild(launcher());
    }
    target.appendChild(inner);
    return { target, frame, ready: false, waiting: [], primary: unknown.reports(index) };
  }

  function launcher() {
    const fab = document.createElement("div");
    fab.className = c["bs-chatbot-fab"];
    fab.style.background = "linear-gradient(135deg, rgb(43, 108, 246), rgb(17, 63, 186))";
    for (const [kind, src] of [["open", build.iconURL], ["close", build.crossURL]]) {
      const img = document.createElement("img");
      img.className = c["bs-chatbot-fab--icon"] + " " + c[kind];
      img.src = src;
      fab.appendChild(img);
    }
    fab.addEventListener("click", () => setOpen(!state.open, "visitor"));
    return fab;
  }

  // takeOver answers the calls that were made before, first in, first out, and
  // those that will be made through an old reference to the stub.
  function takeOver() {
    const name = widget.base + "Api";
    const queue = window[name].q;
    const calls = queue.splice(0);
    queue.push = function () {
      Array.prototype.forEach.call(arguments, answer);
      return 0;
    };
    const api = function () {
      answer(arguments);
    };
    api.q = queue;
    window[name] = api;
    for (const call of calls) {
      try {
        answer(call);
      } catch (error) {
        reportError(error);
      }
    }
  }

  function answer(call) {
    const method = call[0];
    const arg = call[1];
    switch (method) {
      case "boot":
        return boot(arg);
      case "open":
      case "close":
        if (widget.headless) {
          return unknown.refuse("'" + method + "' has no effect in mode " + widget.config.mode);
        }
        return setOpen(method === "open", "api");
      case "update":
        return update(arg);
      case "onOpen":
      case "onClose":
        if (typeof arg !== "function") {
          return unknown.refuse("'" + method + "' needs a function");
        }
        listeners[method === "onOpen" ? "open" : "close"].push(arg);
        return undefined;
      default:
        return unknown.refuse("unknown method '" + String(method) + "'");
    }
  }

  function boot(settings) {
    if (settings === null || typeof settings !== "object") {
      return unknown.refuse("'boot' needs an object");
    }
    if (settings.mode && settings.mode !== state.config.mode) {
      unknown.refuse("'boot' does not change the mode");
    }
    state.config = unknown.reboot(state.config, settings);
    if (views[0].frame.src) {
      load();
    }
    return undefined;
  }

  function update(arg) {
    if (arg === null || typeof arg !== "object") {
      return unknown.refuse("'update' needs an object");
    }
    return tell("update", unknown.attributesOf(arg));
  }

  function setOpen(open, cause) {
    const lie = open ? faults.open : faults.close;
    if (open && faults.dialog) {
      window[faults.dialog]("May we help you?");
    }
    if (open && faults.navigate) {
      location.assign(faults.navigate);
      return;
    }
    if (lie === "throws") {
      throw new Error("BotStar: the window cannot be " + (open ? "opened" : "closed"));
    }
    if (lie === "ignored" || state.open === open) {
      return;
    }
    state.open = open;
    unknown.later(() => {
      if (lie !== "hollow") {
        unknown.markOpen(views[0].target, c.active, open);
        tell(open ? "open" : "close", { cause });
      }
      if (lie !== "silent") {
        unknown.fire(open ? listeners.open : listeners.close);
      }
    });
  }

  // load points every frame at the widget's own document, with the
  // configuration in the query.
  function load() {
    const init = {};
    for (const key of ["user", "variables", "block"]) {
      if (state.config[key]) {
        init[key] = state.config[key];
      }
    }
    const src =
      build.widgetOrigin + "/" + state.config.appId + "?embedded=1&host=" + encodeURIComponent(JSON.stringify(place())) +
      "&mode=" + state.config.mode + "&initData=" + encodeURIComponent(JSON.stringify(init));
    for (const each of views) {
      unknown.navigate(each, src);
    }
    if (widget.own && !widget.headless) {
      unknown.markOpen(views[0].target, c.active, state.open);
    }
  }

  // place is the page's location, its own fields in the order of the browser.
  function place() {
    const l = window.location;
    return {
      ancestorOrigins: {},
      href: l.href,
      origin: l.origin,
      protocol: l.protocol,
      host: l.host,
      hostname: l.hostname,
      port: l.port,
      pathname: l.pathname,
      search: l.search,
      hash: l.hash,
    };
  }

  // tell sends a message to every frame, and keeps it for one that still loads.
  function tell(type, more) {
    for (const each of views) {
      const message = Object.assign({ source: unknown.source, type, report: each.primary }, more);
      if (each.ready) {
        each.frame.contentWindow.postMessage(message, build.widgetOrigin);
      } else {
        each.waiting.push(message);
      }
    }
  }

  function receive(event) {
    const from = views.find((each) => each.frame.contentWindow === event.source);
    if (!from || event.origin !== build.widgetOrigin || !event.data || event.data.source !== unknown.source) {
      return;
    }
    if (event.data.type === "ready") {
      from.ready = true;
      faults = event.data.faults || {};
      if (faults.loop) {
        setTimeout(() => {
          for (;;);
        }, 0);
      }
      event.source.postMessage(
        { source: unknown.source, type: "boot", open: state.open, branded: widget.isBrandedBot, report: from.primary }, build.widgetOrigin);
      for (const message of from.waiting.splice(0)) {
        event.source.postMessage(message, build.widgetOrigin);
      }
    } else if (event.data.type === "close" && !widget.headless) {
      setOpen(false, "visitor");
    }
  }

  function addStyle() {
    const style = document.createElement("style");
    style.textContent = build.style;
    document.head.appendChild(style);
  }
}
