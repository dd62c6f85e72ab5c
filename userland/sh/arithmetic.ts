/**
 * `$((…))`: C's integer expressions on signed 64-bit values, with the shell's variables.
 * POSIX.1-2017, Shell Command Language, section 2.6.4.
 */
import { ShellError } from './state.ts';

export interface Variables { get(name: string): string | undefined; set(name: string, value: string): void }

const TOKEN = /\s*(0[xX][0-9a-fA-F]+|\d+#[0-9a-zA-Z]+|\d+|[A-Za-z_]\w*|<<=|>>=|\*\*|\+\+|--|&&|\|\||<<|>>|[-+*/%&|^<>=!]=|[-+*/%&|^<>=!~?:(),])/y;
const wrap = (value: bigint): bigint => BigInt.asIntN(64, value);

/** Binary operators from the loosest on; all group to the left but `**`. */
const LEVELS: readonly Readonly<Record<string, (a: bigint, b: bigint) => bigint>>[] = [
  { '|': (a, b) => a | b },
  { '^': (a, b) => a ^ b },
  { '&': (a, b) => a & b },
  { '==': (a, b) => truth(a === b), '!=': (a, b) => truth(a !== b) },
  { '<': (a, b) => truth(a < b), '>': (a, b) => truth(a > b), '<=': (a, b) => truth(a <= b), '>=': (a, b) => truth(a >= b) },
  { '<<': (a, b) => a << (b & 63n), '>>': (a, b) => a >> (b & 63n) },
  { '+': (a, b) => a + b, '-': (a, b) => a - b },
  { '*': (a, b) => a * b, '/': (a, b) => a / divisor(b), '%': (a, b) => a % divisor(b) },
];
const truth = (b: boolean): bigint => (b ? 1n : 0n);
function divisor(b: bigint): bigint {
  if (b === 0n) throw new ShellError('division by 0');
  return b;
}
const ASSIGN = /^(?:[-+*/%&|^]|<<|>>)?=$/;

class Evaluator {
  private readonly tokens: string[] = [];
  private at = 0;
  /** > 0 in the branch of && || ?: that is not taken: nothing is assigned and nothing divides by zero. */
  private skipping = 0;
  private readonly text: string;
  private readonly variables: Variables;
  private readonly depth: number;

  constructor(text: string, variables: Variables, depth: number) {
    this.text = text;
    this.variables = variables;
    this.depth = depth;
    const source = text.trimEnd();
    for (TOKEN.lastIndex = 0; TOKEN.lastIndex < source.length; ) {
      const token = TOKEN.exec(source);
      if (!token) throw this.bad();
      this.tokens.push(token[1] ?? '');
    }
  }

  private bad(): ShellError {
    return new ShellError(`${this.text}: syntax error in expression`);
  }
  private peek(): string {
    return this.tokens[this.at] ?? '';
  }
  private accept(token: string): boolean {
    if (this.peek() !== token) return false;
    this.at++;
    return true;
  }

  run(): bigint {
    if (this.tokens.length === 0) return 0n;
    const value = this.comma();
    if (this.at < this.tokens.length) throw this.bad();
    return value;
  }

  private comma(): bigint {
    let value = this.assignment();
    while (this.accept(',')) value = this.assignment();
    return value;
  }

  private assignment(): bigint {
    const name = this.peek();
    const operator = this.tokens[this.at + 1] ?? '';
    if (!/^[A-Za-z_]/.test(name) || !ASSIGN.test(operator)) return this.conditional();
    this.at += 2;
    const right = this.assignment();
    return this.store(name, operator === '=' ? right : this.apply(operator.slice(0, -1), this.load(name), right));
  }

  private conditional(): bigint {
    const condition = this.either();
    if (!this.accept('?')) return condition;
    const yes = this.taken(condition !== 0n, () => this.comma());
    if (!this.accept(':')) throw this.bad();
    const no = this.taken(condition === 0n, () => this.assignment());
    return condition !== 0n ? yes : no;
  }

  private taken(take: boolean, evaluate: () => bigint): bigint {
    if (!take) this.skipping++;
    const value = evaluate();
    if (!take) this.skipping--;
    return value;
  }

  private either(): bigint {
    let value = this.both();
    while (this.accept('||')) {
      const right = this.taken(value === 0n, () => this.both());
      value = truth(value !== 0n || right !== 0n);
    }
    return value;
  }
  private both(): bigint {
    let value = this.binary(0);
    while (this.accept('&&')) {
      const right = this.taken(value !== 0n, () => this.binary(0));
      value = truth(value !== 0n && right !== 0n);
    }
    return value;
  }

  private binary(level: number): bigint {
    const operators = LEVELS[level];
    if (!operators) return this.power();
    let value = this.binary(level + 1);
    while (Object.hasOwn(operators, this.peek())) {
      const operator = this.tokens[this.at++] ?? '';
      value = this.apply(operator, value, this.binary(level + 1));
    }
    return value;
  }

  private apply(operator: string, a: bigint, b: bigint): bigint {
    if (this.skipping > 0) return 0n;
    for (const operators of LEVELS) {
      const f = Object.hasOwn(operators, operator) ? operators[operator] : undefined;
      if (f) return wrap(f(a, b));
    }
    throw this.bad();
  }

  private power(): bigint {
    const base = this.unary();
    if (!this.accept('**')) return base;
    const exponent = this.power();
    if (exponent < 0n) throw new ShellError('exponent less than 0');
    let value = 1n;
    for (let square = base, left = exponent; left > 0n; left >>= 1n, square = wrap(square * square)) if (left & 1n) value = wrap(value * square);
    return value;
  }

  private unary(): bigint {
    const token = this.peek();
    switch (token) {
      case '-': this.at++; return wrap(-this.unary());
      case '+': this.at++; return this.unary();
      case '!': this.at++; return truth(this.unary() === 0n);
      case '~': this.at++; return ~this.unary();
      case '++': case '--': {
        this.at++;
        const name = this.tokens[this.at++] ?? '';
        if (!/^[A-Za-z_]/.test(name)) throw this.bad();
        return this.store(name, this.load(name) + (token === '++' ? 1n : -1n));
      }
      case '(': {
        this.at++;
        const value = this.comma();
        if (!this.accept(')')) throw this.bad();
        return value;
      }
      default: return this.primary();
    }
  }

  private primary(): bigint {
    const token = this.tokens[this.at++] ?? '';
    if (/^[0-9]/.test(token)) return this.number(token);
    if (!/^[A-Za-z_]/.test(token)) throw this.bad();
    const value = this.load(token);
    if (this.accept('++')) this.store(token, value + 1n);
    else if (this.accept('--')) this.store(token, value - 1n);
    return value;
  }

  private number(token: string): bigint {
    const based = /^(\d+)#(.+)$/.exec(token);
    try {
      if (based) return BigInt(Number.parseInt(based[2] ?? '', Number(based[1])));
      if (/^0[0-9]/.test(token)) return BigInt(`0o${token.slice(1)}`);
      return wrap(BigInt(token));
    } catch {
      throw new ShellError(`${token}: value too great for base`);
    }
  }

  private load(name: string): bigint {
    const value = (this.variables.get(name) ?? '').trim();
    if (value === '') return 0n;
    if (this.depth > 64) throw new ShellError(`${name}: expression recursion level exceeded`);
    return new Evaluator(value, this.variables, this.depth + 1).run();
  }

  private store(name: string, value: bigint): bigint {
    const wrapped = wrap(value);
    if (this.skipping === 0) this.variables.set(name, wrapped.toString());
    return wrapped;
  }
}

export const evaluate = (expression: string, variables: Variables): bigint => new Evaluator(expression, variables, 0).run();
