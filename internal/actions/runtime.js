// The page runtime. It runs before the page's own scripts, once per document,
// in two worlds: "main", where the vendor's globals are, and "look", an
// isolated world that the page cannot touch. It defines globalThis.__parley
// with one method, call(name, json) -> Promise<json>, and gives the driver what
// every driver needs: order, the applied-key table, the fence, signals, waits
// with a deadline, and the errors of the page.
//
// The applied-key table lives as long as the document, and is on purpose not
// mirrored in sessionStorage: a new document has lost the effects (its window
// is closed again), so an old answer would be a lie there, and a mirror would
// let the page's scripts write it. Beyond one page life the command's effect
// record on the bus guards.
//
// Nothing here may show the nonce: it lives in closures of strict functions,
// which no stack and no toString() of ours exposes.
(function runtime(world, nonce, make) {
  "use strict";
  if (window !== window.top || globalThis.__parley !== undefined) return;

  // Pristine references, taken before a script of the page can replace them.
  const apply = Reflect.apply;
  const parseJSON = JSON.parse;
  const stringifyJSON = JSON.stringify;
  const PromiseOf = Promise;
  const CustomEventOf = CustomEvent;
  const createObject = Object.create;
  const defineProperty = Object.defineProperty;
  const freeze = Object.freeze;
  const ownKeys = Object.keys;
  const isArray = Array.isArray;
  const text = String;
  const now = Date.now;
  const setTimer = setTimeout;
  const clearTimer = clearTimeout;
  const uncurry = (method) => (self, ...args) => apply(method, self, args);
  const dispatch = uncurry(EventTarget.prototype.dispatchEvent);
  const listen = uncurry(EventTarget.prototype.addEventListener);
  const unlisten = uncurry(EventTarget.prototype.removeEventListener);
  const cut = uncurry(String.prototype.slice);

  const maxText = 500; // characters of an error's message
  const maxErrors = 20; // errors kept as evidence
  const maxSignal = 64 * 1024; // characters of one signal
  const maxApplied = 1000; // answers kept

  // ---- failures

  const failures = new WeakSet();
  const known = uncurry(WeakSet.prototype.has);
  const remember = uncurry(WeakSet.prototype.add);

  // fail makes a failure with a reason of ours, to be thrown.
  const fail = (reason, message, field) => {
    const failure = freeze({ reason, message: cut(text(message), 0, maxText), field: field || "" });
    remember(failures, failure);
    return failure;
  };

  // say returns the message of whatever was thrown. It never throws.
  const say = (thrown) => {
    try {
      if (thrown !== null && typeof thrown === "object" && "message" in thrown) return cut(text(thrown.message), 0, maxText);
      return cut(text(thrown), 0, maxText);
    } catch {
      return "an error that cannot be read";
    }
  };

  const failed = (thrown) => {
    const failure = thrown !== null && typeof thrown === "object" && known(failures, thrown)
      ? thrown
      : fail("widget_failed", say(thrown));
    return stringifyJSON({ ok: false, reason: failure.reason, message: failure.message, field: failure.field });
  };

  // ---- errors of the page, for evidence and for those who wait

  const errors = [];
  const errorListeners = [];

  const note = (kind, message, source) => {
    const error = freeze({ kind, message: cut(text(message), 0, maxText), source: cut(text(source || ""), 0, maxText) });
    if (errors.length < maxErrors) errors[errors.length] = error;
    for (let i = 0; i < errorListeners.length; i++) if (errorListeners[i]) errorListeners[i](error);
  };

  const onError = (listener) => {
    let i = 0;
    while (errorListeners[i]) i++;
    errorListeners[i] = listener;
    return () => {
      errorListeners[i] = null;
    };
  };

  if (world === "main") {
    listen(window, "error", (event) => {
      const target = event.target;
      if (target && target !== window && target.nodeType === 1) {
        note("resource", "a resource did not load", target.src || target.href);
        return;
      }
      note("error", event.message || "an error", event.filename);
    }, true);
    listen(window, "unhandledrejection", (event) => note("rejection", say(event.reason), ""), true);
  }

  // ---- signals

  let seq = 0;
  const toWorker = (signal) => {
    signal.seq = ++seq;
    const emit = globalThis.__parleyEmit;
    if (typeof emit === "function") emit(stringifyJSON(signal));
  };

  // emit reports a fact. The isolated world numbers it and carries it on.
  const emit = (name, cause, key, data) => {
    const signal = { name, cause, key: key || "", seq: 0, at_ms: now(), data: data === undefined ? null : data };
    if (world === "look") {
      toWorker(signal);
      return;
    }
    const init = createObject(null);
    init.detail = stringifyJSON(signal);
    dispatch(document, new CustomEventOf(nonce, init));
  };

  // sight is the isolated driver's own look at what a signal tells.
  let sight = null;
  if (world === "look") {
    listen(document, nonce, (event) => {
      const detail = event.detail;
      if (typeof detail !== "string" || detail.length > maxSignal) return;
      try {
        const signal = parseJSON(detail);
        delete signal.seen;
        if (sight !== null) signal.seen = sight(signal.name);
        toWorker(signal);
      } catch {
        // Not JSON: nothing of ours.
      }
    }, true);
    if (location.protocol !== "about:") emit("page.started", "navigation", "", { page: location.origin + location.pathname });
  }

  // ---- calls, one after another

  let highest = 0; // the highest fence seen
  let tail; // the answer of the last call
  let running = null; // the request that runs
  const answers = createObject(null); // the applied-key table
  const order = []; // its keys, oldest first
  let oldest = 0;

  const read = (name, json) => {
    const request = parseJSON(json);
    if (typeof name !== "string" || request === null || typeof request !== "object") throw fail("malformed_message", "a call without a request");
    return {
      key: typeof request.key === "string" ? request.key : "",
      fence: typeof request.fence === "number" ? request.fence : 0,
      arg: request.arg === undefined || request.arg === null ? createObject(null) : request.arg,
      stop: null,
    };
  };

  const guard = (fence) => {
    if (fence === 0) return;
    if (fence < highest) throw fail("stale_fence", "the page has seen the fence " + highest + ", and " + fence + " is lower");
    highest = fence;
  };

  const keep = (key, answer) => {
    answers[key] = answer;
    order[order.length] = key;
    if (order.length - oldest > maxApplied) {
      delete answers[order[oldest]];
      order[oldest++] = "";
    }
  };

  let functions = createObject(null);

  const run = async (name, request, before) => {
    await before;
    running = request;
    try {
      guard(request.fence);
      const work = functions[name];
      if (typeof work !== "function") throw fail("internal_error", "the driver has no function " + name);
      const value = await work(request.arg);
      return stringifyJSON({ ok: true, value: value === undefined ? null : value });
    } catch (thrown) {
      // Only successes are kept: what failed may be tried again.
      if (request.key !== "") delete answers[request.key];
      return failed(thrown);
    } finally {
      running = null;
    }
  };

  // abandon ends the wait of the call with the key: its caller has gone.
  const abandon = (key) => {
    if (running !== null && running.key === key && running.stop !== null) running.stop(fail("deadline_exceeded", "the caller gave up"));
    return stringifyJSON({ ok: true, value: null });
  };

  const call = (name, json) => {
    let request;
    try {
      request = read(name, json);
    } catch (thrown) {
      return PromiseOf.resolve(failed(thrown));
    }
    if (name === "abandon" || name === "look.abandon") return PromiseOf.resolve(abandon(request.key));
    if (request.key !== "" && answers[request.key] !== undefined) return answers[request.key];
    // What only looks need not stand in line, and nothing waits behind it.
    const answer = run(name, request, tail);
    if (world !== "look") tail = answer;
    if (request.key !== "") keep(request.key, answer);
    return answer;
  };

  // ---- what a driver gets

  // until waits for resolve or reject, which arm passes on to whatever tells.
  // arm returns the function that takes everything back. After ms milliseconds
  // it rejects with what late returns. There is no polling.
  const until = (ms, arm, late) => new PromiseOf((resolve, reject) => {
    const request = running;
    let over = false;
    let timer = 0;
    let disarm;
    const end = (finish) => (value) => {
      if (over) return;
      over = true;
      clearTimer(timer);
      if (request !== null) request.stop = null;
      if (disarm) disarm();
      finish(value);
    };
    const stop = end(reject);
    timer = setTimer(() => {
      let failure;
      try {
        failure = late();
      } catch (thrown) {
        failure = thrown;
      }
      stop(failure);
    }, ms > 0 ? ms : 0);
    if (request !== null) request.stop = stop;
    try {
      disarm = arm(end(resolve), stop);
    } catch (thrown) {
      stop(thrown);
    }
    if (over && disarm) disarm();
  });

  // on listens, and returns the function that stops listening.
  const on = (target, type, listener, capture) => {
    listen(target, type, listener, capture === true);
    return () => unlisten(target, type, listener, capture === true);
  };

  // plain copies data, own keys only, without the three keys that could change
  // a prototype.
  const plain = (value) => {
    if (isArray(value)) {
      const list = [];
      for (let i = 0; i < value.length; i++) list[i] = plain(value[i]);
      return list;
    }
    if (value === null || typeof value !== "object") return value;
    const copy = {};
    const keys = ownKeys(value);
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i];
      if (key === "__proto__" || key === "constructor" || key === "prototype") continue;
      defineProperty(copy, key, { value: plain(value[key]), writable: true, enumerable: true, configurable: true, __proto__: null });
    }
    return copy;
  };

  const made = make(freeze({
    fail,
    say,
    emit,
    until,
    on,
    plain,
    onError,
    apply,
    uncurry,
    parse: parseJSON,
    stringify: stringifyJSON,
    later: (work, ms) => setTimer(work, ms),
    // key is the effect key of the call that runs.
    key: () => (running === null ? "" : running.key),
    errors: () => plain(errors),
  }));
  if (typeof made.sight === "function") sight = made.sight;
  const names = ownKeys(made);
  for (let i = 0; i < names.length; i++) functions[names[i]] = made[names[i]];

  defineProperty(globalThis, "__parley", {
    value: freeze({ call: (name, json) => call(name, json), __proto__: null }),
    writable: false,
    enumerable: false,
    configurable: false,
  });
});
