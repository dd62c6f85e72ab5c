/** What a guest can reach: its memory slots, and nothing else, whatever it does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostileGuests } from './hostile-guests.ts';

test('no hostile guest reads or writes anything outside its memory slots', () => { assert.deepEqual(hostileGuests(400, 1), []); });
test('nor does one whose page tables are shadowed, and none holds a processor', () => { assert.deepEqual(hostileGuests(200, 3, 'ept=0'), []); });
