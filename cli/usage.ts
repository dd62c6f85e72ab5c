/** A command used wrongly: exit status 2 instead of 1. */
export class UsageError extends Error {}
