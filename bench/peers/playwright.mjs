// playwright-core: held pages, and a new context for every visitor.
import {chromium} from 'playwright-core';
import {atOnce, inTurns, serve} from './contend.mjs';
import {launchPlaywright} from './chromium.mjs';
import * as inPage from './page.mjs';

async function visit(browser, setup, user) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(setup.url);
  await page.evaluate(inPage.boot, {appId: setup.app_id, user});
  return {context, page};
}

await serve({
  async hold(setup) {
    const browser = await chromium.launch(launchPlaywright(setup));
    const pages = [];
    for (let i = 0; i < setup.sessions; i++) {
      const {page} = await visit(browser, setup, `held-${i}`);
      pages.push({page, open: false});
    }
    return {
      round: (order) => atOnce(order, setup.window, async (session) => {
        const held = pages[session];
        const what = held.open ? 'close' : 'open';
        const heard = await held.page.evaluate(inPage.say, what);
        if (heard !== what) throw new Error(`asked to ${what}, heard ${heard}`);
        held.open = !held.open;
      }),
      close: () => browser.close(),
    };
  },

  async cold(setup) {
    const browser = await chromium.launch(launchPlaywright(setup));
    return {
      round: (order) => inTurns(order, async (i) => {
        const {context, page} = await visit(browser, setup, `cold-${order.round}-${i}`);
        if (!await page.evaluate(inPage.mounted)) throw new Error('the widget is not mounted');
        return () => context.close();
      }),
      close: () => browser.close(),
    };
  },
});
