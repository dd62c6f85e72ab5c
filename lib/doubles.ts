/**
 * Fields that count cycles are small integers to V8 for the first two virtual seconds and floating-point numbers from
 * then on. An object whose field changes its kind gets another layout, and all the compiled code that knew the old one is thrown away
 * in the midst of a run.
 */

/** Makes these members floating-point numbers from the start; they keep their values. */
export function holdDoubles<K extends string>(object: Record<K, number>, ...names: readonly K[]): void {
  for (const name of names) {
    const value = object[name];
    object[name] = 0.5;
    object[name] = value;
  }
}
