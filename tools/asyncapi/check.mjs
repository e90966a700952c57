// Checks an AsyncAPI document with the official parser: prints what it found,
// and exits with 1 when that is an error.
import { Parser, fromFile } from '@asyncapi/parser';

const path = process.argv[2];
const { document, diagnostics } = await fromFile(new Parser(), path).parse();
const levels = ['error', 'warning', 'info', 'hint'];
let errors = 0;
for (const found of diagnostics) {
  // The newest version of AsyncAPI is a choice of ours, not a mistake.
  if (found.code === 'asyncapi-latest-version') continue;
  console.log(`${levels[found.severity]}: ${found.path.join('.')}: ${found.message} (${found.code})`);
  if (found.severity === 0) errors++;
}
if (!document || errors > 0) {
  console.error(`${path}: ${errors} errors`);
  process.exit(1);
}

// The parser must have followed every reference into the schema files.
let messages = 0;
for (const message of document.allMessages()) {
  const payload = message.payload();
  if (!payload || payload.type() !== 'object' || !payload.property('site') && !payload.property('stream')) {
    console.error(`${message.id()}: its payload is not the schema of our data`);
    process.exit(1);
  }
  if (!message.headers()?.property('ce-id')) {
    console.error(`${message.id()}: it lacks the CloudEvents headers`);
    process.exit(1);
  }
  messages++;
}
const { size } = new Set(document.allChannels().all().map((channel) => channel.address()));
console.log(`${path}: AsyncAPI ${document.version()}, ${size} channels, ${document.allOperations().all().length} operations, ${messages} messages, 0 errors`);
if (size === 0 || messages === 0) process.exit(1);
