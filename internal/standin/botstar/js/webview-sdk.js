// The webview SDK, version 1.0.0. A page that the bot opened reads its
// parameters with BotStarWebview('getParameter', name) and answers with
// BotStarWebview('sendResponse', response, outputs, outletName).
const declared = { input: {}, output: {}, outlet: {} };
const waiting = new Map();
let values = null;
let session = null;
let count = 0;

for (const meta of document.querySelectorAll("meta[name^='bs:']")) {
  const [, kind, name] = /^bs:(input|output|outlet):(.+)$/s.exec(meta.name) || [];
  if (kind) {
    declared[kind][name] = meta.content;
  }
}

window.BotStarWebview = function (method, ...args) {
  switch (method) {
    case "getParameter":
      return values && Object.hasOwn(values, args[0]) ? values[args[0]] : undefined;
    case "sendResponse":
      return sendResponse(...args);
    default:
      console.warn("BotStarWebview: unknown method '" + String(method) + "'");
      return undefined;
  }
};

window.addEventListener("message", receive);
tell({ type: "hello" });

function tell(message) {
  window.parent.postMessage(Object.assign({ source: unknown.webviewSource }, message), "*");
}

function receive(event) {
  if (event.source !== window.parent || !event.data || event.data.source !== unknown.webviewHost) {
    return;
  }
  const message = event.data;
  if (message.type === "inputs") {
    begin(message);
  } else if (message.type === "ack" || message.type === "error") {
    settle(message);
  }
}

// begin tells the page, once, that it can read its parameters. What the page's
// own function throws is the page's affair.
function begin(message) {
  const first = values === null;
  values = Object.assign({}, message.values);
  session = message.instance || null;
  if (first && typeof window.onChatBotReady === "function") {
    try {
      window.onChatBotReady();
    } catch (error) {
      reportError(error);
    }
  }
}

function sendResponse(response, outputs, outlet) {
  const why = refusal(response, outputs, outlet);
  if (why) {
    return Promise.reject(new Error(why));
  }
  count += 1;
  const id = count;
  const message = { type: "response", id, response, outputs: Object.assign({}, outputs), outlet };
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject, message });
    tell(message);
  });
}

function refusal(response, outputs, outlet) {
  const text = unknown.webviewErrors;
  if (values === null) {
    return text.outside;
  }
  if (typeof response !== "string") {
    return text.response;
  }
  if (outputs !== undefined && outputs !== null && (typeof outputs !== "object" || Array.isArray(outputs))) {
    return text.outputs;
  }
  for (const [name, value] of Object.entries(outputs || {})) {
    if (!Object.hasOwn(declared.output, name)) {
      return text.output(name);
    }
    if (typeof value !== "string" && typeof value !== "number") {
      return text.value(name);
    }
  }
  if (outlet !== undefined && outlet !== null && !Object.hasOwn(declared.outlet, outlet)) {
    return text.outlet(outlet);
  }
  return "";
}

function settle(message) {
  const call = waiting.get(message.id);
  if (!call) {
    return;
  }
  waiting.delete(message.id);
  if (message.type === "error") {
    call.reject(new Error(String(message.message)));
    return;
  }
  report(call.message);
  call.resolve();
  tell({ type: "closed" });
}

// report tells the vendor of a response that the host has taken.
function report(message) {
  const body = JSON.stringify({
    webview: location.href,
    instance: session,
    response: message.response,
    outputs: message.outputs,
    outlet: message.outlet,
  });
  fetch(build.widgetOrigin + unknown.eventPath, { method: "POST", mode: "no-cors", keepalive: true, body }).catch(() => {});
}
