/** The page: bundled for a browser, run in a context that has a browser's globals and nothing of Node's. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { root } from '../support/root.ts';
import { createContext, runInContext } from 'node:vm';
import { build } from 'esbuild';
import { BrowserConsole } from '../../web/console.ts';


test('the core runs in a browser: the page boots, and keys typed into it run kvmtest', async () => {
  const { outputFiles } = await build({ entryPoints: [join(root, 'web', 'main.ts')], bundle: true, format: 'iife', platform: 'browser', target: 'es2022', write: false, logLevel: 'silent' });
  const listeners = new Map<string, (event: object) => void>();
  const element = {
    textContent: '', focus() {}, append(text: string) { element.textContent += text; },
    addEventListener: (name: string, listener: (event: object) => void) => listeners.set(name, listener),
  };
  let frame: ((now: number) => void) | undefined;
  const page = {
    WebAssembly, TextEncoder, TextDecoder, Date: { now: () => 1_735_689_600_000 }, performance: { now: () => 0 },
    document: { getElementById: () => element, body: { scrollHeight: 0 } }, window: { scrollTo() {} },
    requestAnimationFrame: (callback: (now: number) => void) => { frame = callback; },
  };
  runInContext(outputFiles[0]!.text, createContext(page));
  let now = 0;
  const show = (until: RegExp): void => {
    for (let i = 0; i < 200 && !until.test(element.textContent); i++) {
      const callback = frame!;
      frame = undefined;
      callback((now += 16));
    }
    assert.match(element.textContent, until);
  };
  const type = (text: string): void => {
    for (const key of text) listeners.get('keydown')!({ key: key === '\n' ? 'Enter' : key, ctrlKey: false, metaKey: false, preventDefault() {} });
  };
  show(/vitrine:\/root# $/);
  type('kvmtest\n');
  show(/\n4\nKVM_EXIT_HLT\n/);
  type('poweroff\n');
  show(/the machine is off, status 0/);
});

test('the page\'s console obeys the control characters and sequences the shell sends', () => {
  let text = '';
  const port = new BrowserConsole((shown) => { text = shown; });
  const write = (bytes: string): string => { port.write(new TextEncoder().encode(bytes)); return text; };
  assert.equal(write('one\r\ntwo\rT'), 'one\nTwo');
  assert.equal(write('\x1b[31mred\x1b[0m'), 'one\nTred');
  assert.equal(write('\b\b\x1b[K'), 'one\nTr');
  assert.equal(write('\r\x1b[5Cx'), 'one\nTr   x');
  assert.equal(write('\x1b[2J\x1b[H$ '), '$ ');
});
