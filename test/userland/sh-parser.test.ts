/** The shell's parser on anything: it answers with a program, with "more input", or with an error of its own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Incomplete, Parser, SyntaxError_ } from '../../userland/sh/parser.ts';

const PIECES = ['if', 'then', 'else', 'fi', 'for', 'in', 'do', 'done', 'while', 'case', 'esac', '{', '}', '(', ')', ';', ';;', '&', '&&', '|', '||', '\n', ' ', '"', "'", '\\', '$', '$(', '$((', '))', '${', '}', '`', '<<E', 'E', '>', '<', '2>&1', '#', '=', 'a', 'x=1', '*', '!', '[', ']', '~'];

test('any text is parsed, asks for more, or is refused with a message', () => {
  let parsed = 0;
  let refused = 0;
  let incomplete = 0;
  fc.assert(fc.property(fc.array(fc.constantFrom(...PIECES), { maxLength: 14 }), fc.boolean(), (pieces, spaced) => {
    try {
      new Parser(pieces.join(spaced ? ' ' : '')).whole();
      parsed++;
    } catch (e) {
      if (e instanceof Incomplete) incomplete++;
      else if (e instanceof SyntaxError_) refused++;
      else throw e;
    }
  }), { numRuns: 4000, seed: 1 });
  for (const count of [parsed, refused, incomplete]) assert.ok(count > 100, `${parsed} parsed, ${refused} refused, ${incomplete} incomplete`);
});

test('a command that asks for more is complete with the rest of it', () => {
  for (const text of ['if true; then echo a; fi', 'for i in 1 2\ndo echo $i\ndone', 'case x in\nx) echo ;;\nesac', 'f() {\necho a\n}', 'cat <<E\ntext\nE', 'echo "a\nb"', 'echo $(\necho x\n)', 'a &&\nb', 'echo a \\\nb']) {
    for (let cut = 1; cut < text.length; cut++) {
      if (!' \n'.includes(text.charAt(cut))) continue;
      try {
        new Parser(text.slice(0, cut)).whole();
      } catch (e) {
        assert.ok(e instanceof Incomplete, `${JSON.stringify(text.slice(0, cut))}: ${e}`);
      }
    }
    new Parser(`${text}\n`).whole();
  }
});
