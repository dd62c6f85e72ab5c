/**
 * What the parser of sh makes of its input. POSIX.1-2017, Shell Command Language, section 2.10.
 */

/** A piece of a word. `quoted` says that its value is neither split nor taken for a pattern. */
export type Part =
  | { readonly kind: 'text'; readonly text: string; readonly quoted: boolean }
  | { readonly kind: 'parameter'; readonly name: string; readonly operator: string; readonly word: Word | undefined; readonly quoted: boolean }
  | { readonly kind: 'command'; readonly list: List; readonly quoted: boolean }
  | { readonly kind: 'arithmetic'; readonly expression: Word; readonly quoted: boolean };

export type Word = readonly Part[];

export interface Redirect {
  /** The descriptor before the operator, or the operator's own: 0 for `<`, 1 for `>`. */
  readonly fd: number;
  readonly operator: '<' | '>' | '>>' | '>|' | '<>' | '<&' | '>&' | '<<' | '&>';
  /** The file, the descriptor, or the text of a here-document (filled in when the parser has reached it). */
  target: Word;
}

export interface Assignment { readonly name: string; readonly value: Word; readonly append: boolean }

export interface CaseArm { readonly patterns: readonly Word[]; readonly body: List; readonly fallThrough: boolean }

export type Command =
  | { readonly kind: 'simple'; readonly assignments: readonly Assignment[]; readonly words: readonly Word[]; readonly redirects: readonly Redirect[] }
  | { readonly kind: 'group' | 'subshell'; readonly body: List; readonly redirects: readonly Redirect[] }
  | { readonly kind: 'if'; readonly arms: readonly { readonly condition: List; readonly body: List }[]; readonly otherwise: List | undefined; readonly redirects: readonly Redirect[] }
  | { readonly kind: 'while'; readonly until: boolean; readonly condition: List; readonly body: List; readonly redirects: readonly Redirect[] }
  | { readonly kind: 'for'; readonly name: string; readonly words: readonly Word[] | undefined; readonly body: List; readonly redirects: readonly Redirect[] }
  | { readonly kind: 'case'; readonly word: Word; readonly arms: readonly CaseArm[]; readonly redirects: readonly Redirect[] }
  | { readonly kind: 'function'; readonly name: string; readonly body: Command; readonly redirects: readonly Redirect[] };

export interface Pipeline {
  readonly commands: readonly Command[];
  readonly negated: boolean;
  readonly timed: boolean;
  /** The source, for `jobs`. */
  readonly text: string;
}

export interface AndOr { readonly first: Pipeline; readonly rest: readonly { readonly operator: '&&' | '||'; readonly pipeline: Pipeline }[] }

export interface ListItem { readonly andOr: AndOr; readonly background: boolean; readonly text: string }
export type List = readonly ListItem[];
