/** Rows of the system instructions: far transfers, interrupts, privileged registers, segments, ports, VMX, state saving. */
import { clts, lmsw, movFromCr, movToCr, rdpkru, smsw, wrpkru, xgetbv, xsetbv } from './control-registers.ts';
import { cpuid } from './cpuid.ts';
import { movFromDr, movToDr } from './debug.ts';
import {
  arpl, lar, lds, les, lfs, lgdt, lgs, lidt, lldt, lsl, lss, ltr, movFromSreg, movToSreg, popSreg, sgdt, sidt, sldt, str, verr, verw,
} from './descriptor-instructions.ts';
import { callFarDirect, callFarIndirect, jmpFarDirect, jmpFarIndirect, retFar } from './far-transfers.ts';
import { fxrstor, fxsave, ldmxcsr, stmxcsr, xrstor, xsave, xsavec, xsaveopt } from './fpu-state.ts';
import { inByteDx, inByteImm, inWideDx, inWideImm, outByteDx, outByteImm, outWideDx, outWideImm } from './io.ts';
import { bound, int1, int3, intN, into, iret, ud } from './iret.ts';
import { rdmsr, wrmsr } from './msrs.ts';
import { type Row, either, emit, exec, row } from './opcode-row.ts';
import {
  clac, cli, hlt, invd, invlpg, invpcid, monitor, mwait, pause, popf, pushf, rdpid, rdpmc, rdrand, rdseed, rdtsc, rdtscp, stac, sti, vmx, wbinvd,
} from './privileged.ts';
import { movToRealSreg, popRealSreg, pushSreg, realFarPointer } from './quick-segments.ts';
import { quickCli, quickMovFromSreg, quickPause, quickPushf, quickRdtsc, quickRdtscp, quickSti } from './quick.ts';
import { rsm } from './smm.ts';
import { CS, DS, ES, FS, GS, SS } from './state.ts';
import { rdfsbase, rdgsbase, swapgs, syscall, sysenter, sysexit, sysret, wrfsbase, wrgsbase } from './syscalls.ts';

export const systemTable: readonly Row[] = [
  // Far transfers and interrupts
  row('9A',             'CALLF',    'Ap',     'i64',       exec(callFarDirect)),
  row('EA',             'JMPF',     'Ap',     'i64',       exec(jmpFarDirect)),
  row('FF /3 m',        'CALLF',    'Mp',     '',          exec(callFarIndirect)),
  row('FF /5 m',        'JMPF',     'Mp',     '',          exec(jmpFarIndirect)),
  row('CA',             'RETF',     'Iw',     '',          exec(retFar)),
  row('CB',             'RETF',     '',       '',          exec(retFar)),
  row('CC',             'INT3',     '',       '',          exec(int3)),
  row('CD',             'INT',      'Ib',     '',          exec(intN)),
  row('CE',             'INTO',     '',       'i64 r:o',   exec(into)),
  row('CF',             'IRET',     '',       'w:oditszapc', exec(iret)),
  row('F1',             'INT1',     '',       '',          exec(int1)),
  row('62 m',           'BOUND',    'Gv Ma',  'i64',       exec(bound)),
  row('0F 0B',          'UD2',      '',       '',          exec(ud)),
  row('0F B9',          'UD1',      'Gv Ev',  '',          exec(ud)),
  row('0F FF',          'UD0',      'Gv Ev',  '',          exec(ud)),
  row('0F AA',          'RSM',      '',       '',          exec(rsm)),
  row('0F 05',          'SYSCALL',  '',       '',          exec(syscall)),
  row('0F 07',          'SYSRET',   '',       'w:oditszapc', exec(sysret)),
  row('0F 34',          'SYSENTER', '',       '',          exec(sysenter)),
  row('0F 35',          'SYSEXIT',  '',       '',          exec(sysexit)),

  // Flags, halting
  row('9C',             'PUSHF',    '',       'd64 straight r:oditszapc', either(quickPushf, pushf)),
  row('9D',             'POPF',     '',       'd64 w:oditszapc', exec(popf)),
  row('FA',             'CLI',      '',       'straight w:i', either(quickCli, cli)),
  row('FB',             'STI',      '',       'straight w:i', either(quickSti, sti)),
  row('F4',             'HLT',      '',       '',          exec(hlt)),
  row('NP 0F 01 CA',    'CLAC',     '',       '',          exec(clac)),
  row('NP 0F 01 CB',    'STAC',     '',       '',          exec(stac)),

  // Segment registers
  row('8C',             'MOV',      'Ev Sw',  'straight',  either(quickMovFromSreg, movFromSreg)),
  row('8E',             'MOV',      'Sw Ew',  '',          exec(movToSreg, movToRealSreg)),
  row('06',             'PUSH',     'ES',     'i64',       emit(pushSreg(ES))),
  row('0E',             'PUSH',     'CS',     'i64',       emit(pushSreg(CS))),
  row('16',             'PUSH',     'SS',     'i64',       emit(pushSreg(SS))),
  row('1E',             'PUSH',     'DS',     'i64',       emit(pushSreg(DS))),
  row('0F A0',          'PUSH',     'FS',     'd64',       emit(pushSreg(FS))),
  row('0F A8',          'PUSH',     'GS',     'd64',       emit(pushSreg(GS))),
  row('07',             'POP',      'ES',     'i64',       exec(popSreg(ES), popRealSreg(ES))),
  row('17',             'POP',      'SS',     'i64',       exec(popSreg(SS))),
  row('1F',             'POP',      'DS',     'i64',       exec(popSreg(DS), popRealSreg(DS))),
  row('0F A1',          'POP',      'FS',     'd64',       exec(popSreg(FS), popRealSreg(FS))),
  row('0F A9',          'POP',      'GS',     'd64',       exec(popSreg(GS), popRealSreg(GS))),
  row('C4 m',           'LES',      'Gv Mp',  'i64',       exec(les, realFarPointer(ES))),
  row('C5 m',           'LDS',      'Gv Mp',  'i64',       exec(lds, realFarPointer(DS))),
  row('0F B2 m',        'LSS',      'Gv Mp',  '',          exec(lss)),
  row('0F B4 m',        'LFS',      'Gv Mp',  '',          exec(lfs, realFarPointer(FS))),
  row('0F B5 m',        'LGS',      'Gv Mp',  '',          exec(lgs, realFarPointer(GS))),
  row('F3 0F AE /0 r',  'RDFSBASE', 'Ry',     'o64 straight', exec(rdfsbase)),
  row('F3 0F AE /1 r',  'RDGSBASE', 'Ry',     'o64 straight', exec(rdgsbase)),
  row('F3 0F AE /2 r',  'WRFSBASE', 'Ry',     'o64 straight', exec(wrfsbase)),
  row('F3 0F AE /3 r',  'WRGSBASE', 'Ry',     'o64 straight', exec(wrgsbase)),
  row('0F 01 F8',       'SWAPGS',   '',       'o64 straight', exec(swapgs)),

  // Descriptors and their tables
  row('0F 00 /0 m',     'SLDT',     'Mw',     'straight',  exec(sldt)),
  row('0F 00 /0 r',     'SLDT',     'Rv',     'straight',  exec(sldt)),
  row('0F 00 /1 m',     'STR',      'Mw',     'straight',  exec(str)),
  row('0F 00 /1 r',     'STR',      'Rv',     'straight',  exec(str)),
  row('0F 00 /2',       'LLDT',     'Ew',     'straight',  exec(lldt)),
  row('0F 00 /3',       'LTR',      'Ew',     'straight',  exec(ltr)),
  row('0F 00 /4',       'VERR',     'Ew',     'straight w:z', exec(verr)),
  row('0F 00 /5',       'VERW',     'Ew',     'straight w:z', exec(verw)),
  row('0F 01 /0 m',     'SGDT',     'Ms',     'f64 straight', exec(sgdt)),
  row('0F 01 /1 m',     'SIDT',     'Ms',     'f64 straight', exec(sidt)),
  row('0F 01 /2 m',     'LGDT',     'Ms',     'f64 straight', exec(lgdt)),
  row('0F 01 /3 m',     'LIDT',     'Ms',     'f64 straight', exec(lidt)),
  row('0F 02',          'LAR',      'Gv Ew',  'straight w:z', exec(lar)),
  row('0F 03',          'LSL',      'Gv Ew',  'straight w:z', exec(lsl)),
  row('63',             'ARPL',     'Ew Gw',  'i64 straight w:z', exec(arpl)),

  // Control and debug registers, MSRs
  row('0F 20',          'MOV',      'Rd Cd',  'f64 straight', exec(movFromCr)),
  row('0F 21',          'MOV',      'Rd Dd',  'f64 straight', exec(movFromDr)),
  row('0F 22',          'MOV',      'Cd Rd',  'f64',       exec(movToCr)),
  row('0F 23',          'MOV',      'Dd Rd',  'f64',       exec(movToDr)),
  row('0F 01 /4 m',     'SMSW',     'Mw',     'straight',  exec(smsw)),
  row('0F 01 /4 r',     'SMSW',     'Rv',     'straight',  exec(smsw)),
  row('0F 01 /6',       'LMSW',     'Ew',     '',          exec(lmsw)),
  row('0F 06',          'CLTS',     '',       '',          exec(clts)),
  row('NP 0F 01 D0',    'XGETBV',   '',       'straight',  exec(xgetbv)),
  row('NP 0F 01 D1',    'XSETBV',   '',       'straight',  exec(xsetbv)),
  row('NP 0F 01 EE',    'RDPKRU',   '',       'straight',  exec(rdpkru)),
  row('NP 0F 01 EF',    'WRPKRU',   '',       'straight',  exec(wrpkru)),
  row('0F 30',          'WRMSR',    '',       '',          exec(wrmsr)),
  row('0F 32',          'RDMSR',    '',       'straight',  exec(rdmsr)),

  // Caches, translations, waiting
  row('0F 01 /7 m',     'INVLPG',   'Mb',     '',          exec(invlpg)),
  row('66 0F38 82 m',   'INVPCID',  'Gy M',   'f64',       exec(invpcid)),
  row('0F 08',          'INVD',     '',       'straight',  exec(invd)),
  row('0F 09',          'WBINVD',   '',       'straight',  exec(wbinvd)),
  row('F3 90',          'PAUSE',    '',       'straight',  either(quickPause, pause)),
  row('NP 0F 01 C8',    'MONITOR',  '',       'straight',  exec(monitor)),
  row('NP 0F 01 C9',    'MWAIT',    '',       'straight',  exec(mwait)),

  // What the processor tells of itself
  row('0F A2',          'CPUID',    '',       'straight',  exec(cpuid)),
  row('0F 31',          'RDTSC',    '',       'straight',  either(quickRdtsc, rdtsc)),
  row('0F 01 F9',       'RDTSCP',   '',       'straight',  either(quickRdtscp, rdtscp)),
  row('0F 33',          'RDPMC',    '',       'straight',  exec(rdpmc)),
  row('F3 0F C7 /7 r',  'RDPID',    'Rq',     'f64 straight', exec(rdpid)),
  row('0F C7 /6 r',     'RDRAND',   'Rv',     'straight w:oszapc', exec(rdrand)),
  row('0F C7 /7 r',     'RDSEED',   'Rv',     'straight w:oszapc', exec(rdseed)),

  // Ports
  row('E4',             'IN',       'AL Ib',  'straight',  exec(inByteImm)),
  row('E5',             'IN',       'eAX Ib', 'straight',  exec(inWideImm)),
  row('EC',             'IN',       'AL DX',  'straight',  exec(inByteDx)),
  row('ED',             'IN',       'eAX DX', 'straight',  exec(inWideDx)),
  row('E6',             'OUT',      'Ib AL',  'straight',  exec(outByteImm)),
  row('E7',             'OUT',      'Ib eAX', 'straight',  exec(outWideImm)),
  row('EE',             'OUT',      'DX AL',  'straight',  exec(outByteDx)),
  row('EF',             'OUT',      'DX eAX', 'straight',  exec(outWideDx)),

  // x87 and SSE state
  row('NP 0F AE /0 m',  'FXSAVE',   'M',      'fpu straight', exec(fxsave)),
  row('NP 0F AE /1 m',  'FXRSTOR',  'M',      'fpu straight', exec(fxrstor)),
  row('NP 0F AE /2 m',  'LDMXCSR',  'Md',     'sse straight', exec(ldmxcsr)),
  row('NP 0F AE /3 m',  'STMXCSR',  'Md',     'sse straight', exec(stmxcsr)),
  row('NP 0F AE /4 m',  'XSAVE',    'M',      'fpu straight', exec(xsave)),
  row('NP 0F AE /5 m',  'XRSTOR',   'M',      'fpu straight', exec(xrstor)),
  row('NP 0F AE /6 m',  'XSAVEOPT', 'M',      'fpu straight', exec(xsaveopt)),
  row('NP 0F C7 /4 m',  'XSAVEC',   'M',      'fpu straight', exec(xsavec)),

  // VMX. The number is the exit reason.
  row('NP 0F 01 C1',    'VMCALL',   '',       '',          exec(vmx(18))),
  row('66 0F C7 /6 m',  'VMCLEAR',  'Mq',     '',          exec(vmx(19))),
  row('NP 0F 01 C2',    'VMLAUNCH', '',       '',          exec(vmx(20))),
  row('NP 0F C7 /6 m',  'VMPTRLD',  'Mq',     '',          exec(vmx(21))),
  row('NP 0F C7 /7 m',  'VMPTRST',  'Mq',     '',          exec(vmx(22))),
  row('NP 0F 78',       'VMREAD',   'Ey Gy',  'f64',       exec(vmx(23))),
  row('NP 0F 01 C3',    'VMRESUME', '',       '',          exec(vmx(24))),
  row('NP 0F 79',       'VMWRITE',  'Gy Ey',  'f64',       exec(vmx(25))),
  row('NP 0F 01 C4',    'VMXOFF',   '',       '',          exec(vmx(26))),
  row('F3 0F C7 /6 m',  'VMXON',    'Mq',     '',          exec(vmx(27))),
  row('66 0F38 80 m',   'INVEPT',   'Gy M',   'f64',       exec(vmx(50))),
  row('66 0F38 81 m',   'INVVPID',  'Gy M',   'f64',       exec(vmx(53))),
];
