/** -cpu: models, features by name, and QEMU's words for what is wrong. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { featureText, featureWords, findFeature } from '../../qemu-lite/cpu-features.ts';
import { cpuModels, parseCpu, wanted } from '../../qemu-lite/cpu-models.ts';

const ALL = 0xffff_ffff;
/** The names of a model's features on a host that has them all. */
const names = (text: string): string[] => featureWords.filter((w) => w.leaf < 0x4000_0000 || w.leaf >= 0x8000_0000).flatMap((w) => {
  const bits = wanted(w, ALL, parseCpu(text));
  return Object.entries(w.names).filter(([bit]) => bits >>> Number(bit) & 1).map(([, name]) => name);
}).sort();

test('a model has the features QEMU gives it, and x2apic', () => {
  // query-cpu-model-expansion of QEMU 7.2, without aliases and without what is no CPUID bit.
  const westmere = ['aes', 'apic', 'arat', 'clflush', 'cmov', 'cx16', 'cx8', 'de', 'fpu', 'fxsr', 'hypervisor', 'lahf-lm', 'lm', 'mca', 'mce', 'mmx', 'msr', 'mtrr', 'nx', 'pae', 'pat', 'pclmulqdq', 'pge', 'pni', 'popcnt', 'pse',
    'pse36', 'sep', 'sse', 'sse2', 'sse4.1', 'sse4.2', 'ssse3', 'syscall', 'tsc'];
  assert.deepEqual(names('Westmere'), [...westmere, 'x2apic'].sort());
  const kvm64 = westmere.filter((n) => !['aes', 'arat', 'lahf-lm', 'pclmulqdq', 'popcnt', 'sse4.1', 'sse4.2', 'ssse3'].includes(n));
  assert.deepEqual(names('kvm64'), [...kvm64, 'x2apic'].sort());
  assert.deepEqual(names('qemu64'), [...kvm64, 'lahf-lm', 'x2apic'].sort());
});
test('each name in a model is that of a feature', () => {
  for (const [model, { features = '' }] of Object.entries(cpuModels)) for (const name of features.split(' ').filter((n) => n !== '')) assert.ok(findFeature(name), `${model}: ${name}`);
});
test('features are added and taken away by sign or by value, under all their spellings, and the host decides', () => {
  assert.ok(names('qemu64,+avx').includes('avx'));
  assert.ok(names('qemu64,sse4_1=on,sse4-2=on').join().includes('sse4.1,sse4.2'));
  assert.ok(!names('max,-sse3').includes('pni') && !names('max,pni=off').includes('pni') && names('max').includes('pni'));
  const [avx] = [findFeature('avx')!];
  assert.equal(wanted(avx.word, ~(1 << 28), parseCpu('max,+avx')) >>> 28 & 1, 0);
});
test('a feature is named as QEMU warns of it', () => {
  assert.equal(featureText(findFeature('avx')!), 'CPUID.01H:ECX.avx [bit 28]');
  assert.equal(featureText(findFeature('avx512f')!), 'CPUID.07H:EBX.avx512f [bit 16]');
  assert.equal(featureText(findFeature('lm')!), 'CPUID.80000001H:EDX.lm [bit 29]');
});
test('properties are taken, and what is none is refused in QEMU\'s words', () => {
  const cpu = parseCpu('max,vendor=AuthenticAMD,family=6,model=0x5e,stepping=3,phys-bits=36,host-phys-bits,migratable=no,enforce');
  assert.deepEqual([cpu.vendor, cpu.family, cpu.model, cpu.stepping, cpu.physBits, cpu.enforce], ['AuthenticAMD', 6, 0x5e, 3, 36, true]);
  assert.throws(() => parseCpu('z80'), { message: "unable to find CPU model 'z80'" });
  assert.throws(() => parseCpu('qemu64,+nosuch'), { message: "Property 'qemu64-x86_64-cpu.nosuch' not found" });
  assert.throws(() => parseCpu('max,avx=maybe'), { message: "Invalid parameter type for 'avx', expected: boolean" });
  assert.throws(() => parseCpu('max,vendor=me'), { message: "Property '.vendor' doesn't take value 'me'" });
});
