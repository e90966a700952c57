// puppeteer-core: a number of held pages in one browser, no bus.
import puppeteer from 'puppeteer-core';
import {atOnce, serve} from './contend.mjs';
import {launch} from './chromium.mjs';
import * as inPage from './page.mjs';

await serve({
  async hold(setup) {
    const browser = await puppeteer.launch(launch(setup));
    const pages = [];
    for (let i = 0; i < setup.sessions; i++) {
      const context = await browser.createBrowserContext();
      const page = await context.newPage();
      await page.goto(setup.url);
      await page.evaluate(inPage.boot, {appId: setup.app_id, user: `held-${i}`});
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
});
