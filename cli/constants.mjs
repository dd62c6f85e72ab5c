/**
 * Gives a bundle back its constants. esbuild declares all that stands at the top of a module with `var`; V8 then reads
 * each constant from memory wherever it is used, and checks what it has read. What is declared with `const` its
 * optimizing compiler puts into the code as the number it is.
 *
 * esbuild itself finds the declarations that must stay: it warns of assignments to constants. A declaration begins a
 * line of the bundle; none of the sources' multi-line strings has such a line.
 */

const DECLARATION = /^var (?=[\w$]+ = )/;

/** The same code, of an ESM bundle of esbuild's, with `const` for what is assigned once. Lines stay where they are. */
export async function keepConstants(esbuild, code) {
  const lines = code.split('\n');
  const changed = lines.map((line) => line.replace(DECLARATION, 'const '));
  for (;;) {
    const { warnings = [], errors = [] } = await esbuild.transform(changed.join('\n'), { format: 'esm', logLevel: 'silent', logLimit: 0 }).catch((error) => error);
    // A warning's note, or the error itself, is at the declaration.
    const places = [...warnings.filter(({ id }) => id === 'assign-to-constant').map(({ notes }) => notes[0]), ...errors];
    const wrong = new Set(places.map(({ location }) => location.line - 1));
    if (wrong.size === 0) return changed.join('\n');
    for (const i of wrong) {
      if (changed[i] === lines[i]) throw new Error(`a bundle whose line ${i + 1} is not understood: ${lines[i]}`);
      changed[i] = lines[i];
    }
  }
}
