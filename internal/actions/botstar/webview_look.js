// The driver of a webview page, isolated world: it reads what the page
// declares.
(function webviewLook() {
  "use strict";

  const most = 500; // meta tags that are read

  const metas = () => {
    const found = [];
    for (const tag of document.querySelectorAll('meta[name^="bs:"]')) {
      if (found.length === most) break;
      found.push({ name: tag.getAttribute("name"), content: (tag.getAttribute("content") || "").slice(0, 2000) });
    }
    return { metas: found };
  };

  return { "look.metas": metas, "look.where": () => ({ url: location.href }) };
});
