import type { Lab } from '../grading/lab.ts';
export const lab: Lab = { name: '02-serial', tests: [] };
