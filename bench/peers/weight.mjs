// How heavy a chat is for a page: visits of the shop's product page in fresh
// browser contexts, on a machine that is slowed down four times.
import puppeteer from 'puppeteer-core';
import {serve} from './contend.mjs';
import {launch} from './chromium.mjs';

const slower = 4;
const settled = 1000; // ms after the load event, in which late work is seen
const least = 1000; // us: what is less than a millisecond counts as one

// observe runs in the page before its own scripts.
const observe = () => {
  const seen = (window.seen = {lcp: 0, blocked: 0});
  const watch = (type, note) =>
    new PerformanceObserver((list) => list.getEntries().forEach(note)).observe({type, buffered: true});
  watch('largest-contentful-paint', (entry) => { seen.lcp = entry.startTime; });
  watch('longtask', (entry) => { seen.blocked += entry.duration - 50; });
};

// weigh tells what was seen, and how much of our files has travelled.
const weigh = () => {
  const size = (entries) => entries.reduce((sum, entry) => sum + entry.encodedBodySize, 0);
  const resources = performance.getEntriesByType('resource');
  return {
    ...window.seen,
    bytes: size(performance.getEntriesByType('navigation')) + size(resources),
    own: size(resources.filter((entry) => entry.name.includes('/v1/files/'))),
  };
};

async function open(browser, rate) {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  const cdp = await page.createCDPSession();
  await cdp.send('Emulation.setCPUThrottlingRate', {rate});
  await cdp.send('Performance.enable', {timeDomain: 'threadTicks'}); // CPU time, whoever else uses the machine
  return {context, page, cdp};
}

const settle = (page) => page.evaluate((ms) => new Promise((done) => setTimeout(done, ms)), settled);

// visit is one visit, in microseconds and bytes.
async function visit(browser, address) {
  const {context, page, cdp} = await open(browser, slower);
  await page.evaluateOnNewDocument(observe);
  await page.goto(address, {waitUntil: 'load'});
  await settle(page);
  const seen = await page.evaluate(weigh);
  const {metrics} = await cdp.send('Performance.getMetrics');
  const busy = metrics.find(({name}) => name === 'TaskDuration').value;
  await context.close();
  if (!seen.lcp) throw new Error(`${address} painted nothing`);
  return {
    lcp_us: seen.lcp * 1000, tbt_us: Math.max(least, seen.blocked * 1000), main_thread_us: busy * 1e6,
    page_bytes: seen.bytes, own_bytes: seen.own,
  };
}

// longest is the longest task of the main thread in which a script of ours ran,
// as the browser's own trace has it.
async function longest(browser, address) {
  const {context, page} = await open(browser, slower);
  await page.tracing.start({categories: ['toplevel', 'disabled-by-default-devtools.timeline', 'devtools.timeline', 'v8']});
  await page.goto(address, {waitUntil: 'load'});
  await settle(page);
  const {traceEvents} = JSON.parse(new TextDecoder().decode(await page.tracing.stop()));
  await context.close();
  const ours = traceEvents.filter(({ph, args}) => ph === 'X' && JSON.stringify(args ?? '').includes('/v1/files/'));
  const scripts = ours.filter(({name}) => ['EvaluateScript', 'FunctionCall', 'v8.compile'].includes(name));
  if (!scripts.length) throw new Error('the trace holds no script of ours');
  const tasks = traceEvents.filter(({ph, name}) => ph === 'X' && /RunTask$/.test(name));
  const around = (at) => tasks
    .filter((task) => task.pid === at.pid && task.tid === at.tid && task.ts <= at.ts && at.ts + at.dur <= task.ts + task.dur)
    .map((task) => task.dur);
  return Math.max(...scripts.flatMap((script) => [script.dur, ...around(script)]));
}

// median of the visits of a round, for each of what they tell.
const median = (visits) => Object.fromEntries(Object.keys(visits[0]).map((name) => {
  const values = visits.map((one) => one[name]).sort((a, b) => a - b);
  return [name, values[values.length >> 1]];
}));

const page = (chat) => async (setup) => {
  const browser = await puppeteer.launch(launch(setup));
  const address = `${setup.url}?chat=${chat}`;
  return {
    async round(order) {
      const visits = [];
      for (let i = 0; i < order.jobs; i++) visits.push(await visit(browser, address));
      const values = median(visits);
      if (chat === 'parley') values.own_task_us = await longest(browser, address);
      return {jobs: order.jobs, values};
    },
    close: () => browser.close(),
  };
};

await serve({none: page('none'), vendor: page('vendor'), parley: page('parley')});
