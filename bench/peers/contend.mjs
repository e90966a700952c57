// The contender's side of the runner's protocol (bench/contend): a setup, then
// one order after another, a line of JSON each; every line gets a report.
import {createInterface} from 'node:readline';

// serve starts the job that the setup names, and does rounds until there is an
// order without jobs.
export async function serve(jobs) {
  const lines = createInterface({input: process.stdin})[Symbol.asyncIterator]();
  const next = async () => {
    const {value, done} = await lines.next();
    return done ? {} : JSON.parse(value);
  };
  const say = (report) => process.stdout.write(JSON.stringify(report) + '\n');
  let job;
  try {
    const setup = await next();
    if (!jobs[setup.job]) throw new Error(`no job is called ${setup.job}`);
    job = await jobs[setup.job](setup);
    say({});
    for (let order = await next(); order.jobs; order = await next()) {
      const work = order.prepare ? job.prepare : order.clear ? job.clear : job.round;
      say(await work(order) ?? {});
    }
  } catch (err) {
    say({error: String(err.stack ?? err)});
    process.exitCode = 1;
  }
  await job?.close();
  process.exit();
}

// inTurns does the jobs one after another, and times each. A job may return a
// function that clears up: its time belongs to the round, but not to the job.
export async function inTurns(order, one) {
  const latencies = [];
  const begun = performance.now();
  for (let i = 0; i < order.jobs; i++) {
    const start = performance.now();
    const clear = await one(i);
    latencies.push((performance.now() - start) * 1000);
    await clear?.();
  }
  return {jobs: order.jobs, wall_us: (performance.now() - begun) * 1000, latencies_us: latencies};
}

// atOnce does the jobs of the picked sessions with a number of them under way
// at once. Jobs of one session keep their order.
export async function atOnce(order, window, one) {
  const tails = new Map();
  const latencies = [];
  const begun = performance.now();
  let next = 0;
  const lane = async () => {
    while (next < order.jobs) {
      const session = order.picks[next++];
      const start = performance.now();
      const mine = (tails.get(session) ?? Promise.resolve()).then(() => one(session));
      tails.set(session, mine);
      await mine;
      latencies.push((performance.now() - start) * 1000);
    }
  };
  await Promise.all(Array.from({length: window}, lane));
  return {jobs: latencies.length, wall_us: (performance.now() - begun) * 1000, latencies_us: latencies};
}
