// The check itself can fail: each way to break the document is found.
import test from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const schemas = join(import.meta.dirname, '../../schemas');

// check runs the check on a copy of the contract that change has edited.
function check(change) {
  const folder = mkdtempSync(join(tmpdir(), 'asyncapi-'));
  try {
    cpSync(schemas, folder, { recursive: true });
    const path = join(folder, 'asyncapi.yaml');
    writeFileSync(path, change(readFileSync(path, 'utf8')));
    return spawnSync(process.execPath, [join(import.meta.dirname, 'check.mjs'), path]).status;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('the document as it is', () => assert.equal(check((text) => text), 0));
for (const [name, from, to] of [
  ['a schema file that is not there', 'command/botstar.widget.open.schema', 'command/botstar.widget.gone.schema'],
  ['a channel that is not there', "'#/channels/command.botstar.widget.open'", "'#/channels/nowhere'"],
  ['a parameter without a description of it', '  parameters:\n    site:', '  parameters:\n    place:'],
  ['a member that AsyncAPI does not know', 'defaultContentType:', 'defaultContentTyp:'],
  ['messages without the CloudEvents headers', 'ce-id:', 'ce-key:'],
]) {
  test(name, () => assert.equal(check((text) => {
    assert.ok(text.includes(from));
    return text.replaceAll(from, to);
  }), 1));
}
