; System instructions and exceptions in 32-bit protected mode with paging: what a processor makes of each case.
;   nasm -f bin -o system32.bin system32.asm
;   qemu-system-x86_64 -kernel system32.bin -display none -serial file:system32.txt -device isa-debug-exit,iobase=0xf4,iosize=4
%include "runner.inc"
        section .table
case_table:

%define STUB      16            ; bytes of an interrupt stub
%define PAGE_NP   0x400000      ; not present
%define PAGE_RO   0x401000      ; user, read-only
%define PAGE_SUP  0x402000      ; supervisor, writable
%define PAGE_SRO  0x403000      ; supervisor, read-only
%define PAGE_OK   0x404000      ; user, writable; the next one is PAGE_NP2
%define PAGE_NP2  0x405000

        section .text
entry:  cli
        mov     esp, kernel_stack
        mov     al, 0xff
        out     0x21, al
        out     0xa1, al
        mov     esi, gdt_pristine
        mov     edi, gdt
        mov     ecx, (gdt_pristine_end - gdt_pristine) / 4
        rep movsd
        lgdt    [gdtr]
        jmp     0x08:.flat
.flat:  mov     ax, 0x10
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        xor     eax, eax
        mov     fs, ax
        mov     gs, ax
        ; page tables: identity for 8 MiB, user and writable, but for the special pages
        mov     edi, page_directory
        mov     ecx, 1024
        rep stosd
        mov     dword [page_directory], page_table0 + 7
        mov     dword [page_directory + 4], page_table1 + 7
        mov     edi, page_table0
        mov     eax, 7
        mov     ecx, 2048
.fill:  stosd
        add     eax, 0x1000
        loop    .fill
        mov     dword [page_table1 + 0], 0
        mov     dword [page_table1 + 4], PAGE_RO + 5
        mov     dword [page_table1 + 8], PAGE_SUP + 3
        mov     dword [page_table1 + 12], PAGE_SRO + 1
        mov     dword [page_table1 + 20], 0
        mov     eax, page_directory
        mov     cr3, eax
        mov     eax, cr0
        or      eax, 0x80010020         ; PG, WP, NE
        and     eax, ~0x6000000e
        mov     cr0, eax
        ; interrupt table
        mov     edi, idt
        mov     esi, stubs
        mov     ecx, 256
.gates: mov     eax, esi
        mov     [edi], ax
        mov     word [edi + 2], 0x08
        mov     word [edi + 4], 0x8e00
        shr     eax, 16
        mov     [edi + 6], ax
        add     edi, 8
        add     esi, STUB
        loop    .gates
        mov     byte [idt + 3 * 8 + 5], 0xee
        mov     byte [idt + 4 * 8 + 5], 0xee
        mov     byte [idt + 0x80 * 8 + 5], 0xee
        mov     byte [idt + 0x81 * 8 + 5], 0xef         ; trap gate
        mov     byte [idt + 0x82 * 8 + 5], 0x6e         ; absent
        mov     byte [idt + 0x83 * 8 + 5], 0xe5         ; task gate to the second TSS
        mov     word [idt + 0x83 * 8 + 2], 0x78
        mov     byte [idt + 0x84 * 8 + 5], 0xee
        mov     word [idt + 0x84 * 8 + 2], 0x10         ; not code
        mov     byte [idt + 0x85 * 8 + 5], 0xec         ; a call gate in the IDT
        mov     byte [idt + 0x86 * 8 + 5], 0xee
        mov     word [idt + 0x86 * 8 + 2], 0x38         ; conforming
        mov     byte [idt + 0x87 * 8 + 5], 0xee
        mov     word [idt + 0x87 * 8 + 2], 0x1b         ; ring 3 code
        mov     byte [idt + 0x88 * 8 + 5], 0xee
        mov     word [idt + 0x88 * 8 + 2], 0
        mov     byte [idt + 0x89 * 8 + 5], 0xee
        mov     word [idt + 0x89 * 8 + 2], 0x80         ; absent code
        mov     byte [idt + 8 * 8 + 5], 0x85            ; double fault: a task of its own
        mov     word [idt + 8 * 8 + 2], 0xd8
        lidt    [idtr]
%macro BASE 2
        mov     eax, %2
        mov     [%1 + 2], ax
        shr     eax, 16
        mov     [%1 + 4], al
        mov     [%1 + 7], ah
%endmacro
%macro TARGET 2
        mov     eax, %2
        mov     [%1], ax
        shr     eax, 16
        mov     [%1 + 6], ax
%endmacro
        BASE    tss_d, tss
        BASE    tss2_d, tss2
        BASE    tss3_d, tss3
        BASE    ldt_d, ldt
        TARGET  gate_d, gate_target
        TARGET  gate2_d, gate_return
        TARGET  gate3_d, gate_target
        TARGET  gate4_d, gate_target
        TARGET  gate5_d, gate_target
        mov     dword [next_case], case_table

; ---------------------------------------------------------------- the loop
run_next:
        mov     esp, kernel_stack
        mov     ebx, [next_case]
        cmp     ebx, case_table_end
        jae     finish
        ; put everything back
        mov     ax, 0x10
        mov     ds, ax
        mov     es, ax
        mov     esi, gdt_pristine
        mov     edi, gdt
        mov     ecx, (gdt_pristine_end - gdt_pristine) / 4
        rep movsd
        lgdt    [gdtr]
        lidt    [idtr]
        mov     esi, tss_pristine
        mov     edi, tss
        mov     ecx, 3 * 26 + 2
        rep movsd
        mov     eax, 0x80010031
        mov     cr0, eax
        xor     eax, eax
        mov     cr4, eax
        mov     cr2, eax
        mov     dr7, eax
        lldt    ax
        mov     fs, ax
        mov     gs, ax
        mov     ax, 0x28
        ltr     ax
        mov     edi, user_stack - 64
        mov     ecx, 32
        mov     eax, 0x5555aaaa
        rep stosd
        mov     edi, scratch
        mov     ecx, 64
        xor     eax, eax
.pat:   mov     [edi], eax
        add     edi, 4
        add     eax, 0x01010101
        loop    .pat
        cmp     dword [ebx + 12], 0
        jne     .ring3
        mov     esp, user_stack
        push    dword 0x202
        push    dword 0x08
        push    dword [ebx + 4]
        jmp     .go
.ring3: mov     ax, 0x23
        mov     ds, ax
        mov     es, ax
        push    dword 0x23
        push    dword user_stack
        push    dword 0x202
        push    dword 0x1b
        push    dword [ebx + 4]
.go:    mov     eax, 0x11111111
        mov     ecx, 0x22222222
        mov     edx, 0x33333333
        mov     ebx, 0x44444444
        mov     ebp, 0x55555555
        mov     esi, scratch
        mov     edi, scratch + 64
        iretd

finish: mov     esi, done
        call    print
        mov     dx, EXIT
        mov     al, 0
        out     dx, al
.stop:  hlt
        jmp     .stop

; ---------------------------------------------------------------- what every vector comes to
        align   16
stubs:
%assign v 0
%rep 256
        align   16
  %if v = 8 || (v >= 10 && v <= 14) || v = 17
        push    dword v
  %else
        push    dword 0x0bad
        push    dword v
  %endif
        jmp     strict near recorded
%assign v v + 1
%endrep

recorded:
        pusha
        push    ds
        push    es
        push    fs
        push    gs
        cld
        mov     ax, 0x10
        mov     ds, ax
        mov     es, ax
        mov     ebp, esp                ; gs fs es ds | edi esi ebp esp ebx edx ecx eax | vector error eip cs eflags [esp ss]
        mov     ebx, [next_case]
        mov     esi, [ebx]
        call    print
        mov     eax, [ebp + 48]
        mov     esi, t_vector
        call    field
        mov     eax, [ebp + 52]
        cmp     eax, 0x0bad
        je      .noerr
        mov     esi, t_error
        call    field
.noerr: mov     eax, [ebp + 56]
        sub     eax, [ebx + 4]
        mov     esi, t_eip
        call    field
        mov     eax, [ebp + 60]
        mov     esi, t_cs
        call    field
        mov     eax, [ebp + 64]
        mov     esi, t_flags
        call    field
        test    byte [ebp + 60], 3
        jz      .inner
        mov     eax, [ebp + 68]
        sub     eax, user_stack
        mov     esi, t_esp
        call    field
        movzx   eax, word [ebp + 72]
        mov     esi, t_ss
        call    field
        jmp     .regs
.inner: lea     eax, [ebp + 68]
        sub     eax, user_stack
        mov     esi, t_esp
        call    field
        mov     ax, ss
        movzx   eax, ax
        mov     esi, t_ss
        call    field
.regs:  mov     eax, [ebp + 44]
        mov     edx, 0x11111111
        mov     esi, t_eax
        call    changed
        mov     eax, [ebp + 40]
        mov     edx, 0x22222222
        mov     esi, t_ecx
        call    changed
        mov     eax, [ebp + 36]
        mov     edx, 0x33333333
        mov     esi, t_edx
        call    changed
        mov     eax, [ebp + 32]
        mov     edx, 0x44444444
        mov     esi, t_ebx
        call    changed
        mov     eax, [ebp + 24]
        mov     edx, 0x55555555
        mov     esi, t_ebp
        call    changed
        mov     eax, [ebp + 20]
        mov     edx, scratch
        mov     esi, t_esi
        call    changed
        mov     eax, [ebp + 16]
        mov     edx, scratch + 64
        mov     esi, t_edi
        call    changed
        movzx   eax, word [ebp + 12]
        mov     esi, t_ds
        call    field
        movzx   eax, word [ebp + 8]
        mov     esi, t_es
        call    field
        movzx   eax, word [ebp + 4]
        xor     edx, edx
        mov     esi, t_fs
        call    changed
        movzx   eax, word [ebp]
        xor     edx, edx
        mov     esi, t_gs
        call    changed
        mov     eax, cr2
        xor     edx, edx
        mov     esi, t_cr2
        call    changed
        mov     eax, cr0
        mov     edx, 0x80010031
        mov     esi, t_cr0
        call    changed
        str     ax
        movzx   eax, ax
        mov     edx, 0x28
        mov     esi, t_tr
        call    changed
        sldt    ax
        movzx   eax, ax
        xor     edx, edx
        mov     esi, t_ldt
        call    changed
        ; what lies below the top of the case's stack, for ring 3, and what changed in scratch
        test    byte [ebp + 60], 3
        jz      .nostack
        mov     ecx, user_stack - 4
.stack: mov     eax, [ecx]
        mov     edx, 0x5555aaaa
        mov     esi, t_stack
        call    changed
        sub     ecx, 4
        cmp     ecx, user_stack - 32
        ja      .stack
.nostack:
        mov     ecx, scratch
        xor     edx, edx
.mem:   mov     eax, [ecx]
        cmp     eax, edx
        je      .same
        push    eax
        mov     eax, ecx
        sub     eax, scratch
        mov     esi, t_mem
        call    field
        pop     eax
        mov     esi, t_is
        call    field
.same:  add     ecx, 4
        add     edx, 0x01010101
        cmp     ecx, scratch + 128
        jb      .mem
        mov     al, 10
        call    putc
        ; Leave a task a case has switched to.
        pushfd
        and     dword [esp], ~0x4000
        popfd
        add     dword [next_case], 16
        jmp     run_next

; The double fault task starts here; its back link names the task that failed.
double_fault:
        cld
        add     esp, 4
        mov     ebx, [next_case]
        mov     esi, [ebx]
        call    print
        mov     esi, t_double
        call    print
        movzx   eax, word [tss3]
        mov     esi, t_tr
        call    field
        mov     eax, [tss + 0x20]
        sub     eax, [ebx + 4]
        mov     esi, t_eip
        call    field
        mov     eax, [tss + 0x4c]
        mov     esi, t_cs
        call    field
        mov     eax, [tss + 0x38]
        sub     eax, user_stack
        mov     esi, t_esp
        call    field
        mov     eax, cr2
        xor     edx, edx
        mov     esi, t_cr2
        call    changed
        mov     al, 10
        call    putc
        pushfd
        and     dword [esp], ~0x4000
        popfd
        add     dword [next_case], 16
        jmp     run_next

; The second task starts here.
second_task:
        mov     eax, 0x7a5c
        str     cx
        pushfd
        pop     edx
        mov     bx, [tss2]
        int     0x81
        iretd

field:  push    eax
        call    print
        pop     eax
hex:    push    ecx
        mov     ecx, 8
.skip:  rol     eax, 4
        test    al, 15
        jnz     .digit
        loop    .skip
        inc     ecx
.next:  test    ecx, ecx
        jz      .end
.digit: push    eax
        and     al, 15
        cmp     al, 10
        jb      .dec
        add     al, 'a' - '0' - 10
.dec:   add     al, '0'
        call    putc
        pop     eax
        rol     eax, 4
        loop    .digit
.end:   pop     ecx
        ret
changed:
        cmp     eax, edx
        jne     field
        ret
print:  lodsb
        test    al, al
        jz      .done
        call    putc
        jmp     print
.done:  ret
putc:   push    edx
        mov     dx, COM1
        out     dx, al
        pop     edx
        ret

gate_target:
        mov     eax, 0x6a7e
        int     0x80
gate_return:
        mov     eax, 0x6a7f
        retf    8

%include "cases32.inc"

        section .data
gdt:    times 0xe8 db 0
idt:    times 256 * 8 db 0
        align   16
tss:    times 104 db 0
tss2:   times 104 db 0
tss3:   times 104 db 0
bitmap: times 8 db 0
        section .table
case_table_end:
        section .names
done:   db      'done', 10, 0
t_vector: db    ' v', 0
t_error: db     ' e', 0
t_eip:  db      ' ip', 0
t_cs:   db      ' cs', 0
t_flags: db     ' fl', 0
t_esp:  db      ' sp', 0
t_ss:   db      ' ss', 0
t_eax:  db      ' ax', 0
t_ecx:  db      ' cx', 0
t_edx:  db      ' dx', 0
t_ebx:  db      ' bx', 0
t_ebp:  db      ' bp', 0
t_esi:  db      ' si', 0
t_edi:  db      ' di', 0
t_ds:   db      ' ds', 0
t_es:   db      ' es', 0
t_fs:   db      ' fs', 0
t_gs:   db      ' gs', 0
t_cr2:  db      ' cr2=', 0
t_cr0:  db      ' cr0=', 0
t_tr:   db      ' tr', 0
t_ldt:  db      ' ldt', 0
t_stack: db     ' st', 0
t_mem:  db      ' m', 0
t_is:   db      '=', 0
t_double: db    ' double', 0
        align   4
gdtr:   dw      0xe7
        dd      gdt
        dw      0
idtr:   dw      256 * 8 - 1
        dd      idt
        align   4
gdt_pristine:
        dq      0
        dq      0x00cf9b000000ffff      ; 08 ring 0 code
        dq      0x00cf93000000ffff      ; 10 ring 0 data
        dq      0x00cffb000000ffff      ; 18 ring 3 code
        dq      0x00cff3000000ffff      ; 20 ring 3 data
tss_d:  dq      0x0000890000000140      ; 28 TSS with an I/O bitmap behind the others; bases are filled in at the start
ldt_d:  dq      0x000082000000001f      ; 30 LDT
        dq      0x00cf9f000000ffff      ; 38 conforming code, DPL 0
        dq      0x00cf13000000ffff      ; 40 absent data, DPL 0
        dq      0x00cff1000000ffff      ; 48 read-only data, DPL 3
        dq      0x00cf99000000ffff      ; 50 execute-only code
        dq      0x0040f7000000efff      ; 58 expand-down data above 0xefff, 32-bit, DPL 3
        dq      0x0040f30000000fff      ; 60 small data, DPL 3
gate_d: dw      0, 0x08, 0xec00, 0      ; 68 call gate
gate2_d: dw     0, 0x08, 0xec02, 0      ; 70 call gate with two parameters
tss2_d: dq      0x0000890000000067      ; 78 second TSS
        dq      0x00cf1b000000ffff      ; 80 absent code
        dq      0x00009b000000ffff      ; 88 16-bit code
        dq      0x000093000000ffff      ; 90 16-bit data
        dq      0x00cf92000000ffff      ; 98 data not yet accessed
gate3_d: dw     0, 0x08, 0x6c00, 0      ; a0 absent call gate
gate4_d: dw     0, 0x10, 0xec00, 0      ; a8 call gate to data
        dq      0x00cfd3000000ffff      ; b0 data, DPL 2
        dq      0x00cfff000000ffff      ; b8 conforming code, DPL 3
        dw      0, 0x78, 0xe500, 0      ; c0 task gate
gate5_d: dw     0, 0x08, 0x8c00, 0      ; c8 call gate, DPL 0
        dq      0x00cf98000000ffff      ; d0 code not yet accessed
tss3_d: dq      0x0000890000000067      ; d8 TSS of the double fault
        dq      0x00cffb000000ffff      ; e0
gdt_pristine_end:
tss_pristine:
        dd      0, kernel_stack, 0x10
        times 22 dd 0
        dd      0x01380000
        ; second
        dd      0, 0, 0, 0, 0, 0, 0, page_directory, second_task, 2, 0, 0, 0, 0, task_stack, 0, 0, 0, 0x10, 0x08, 0x10, 0x10, 0, 0, 0, 0x00680000
        ; double fault
        dd      0, 0, 0, 0, 0, 0, 0, page_directory, double_fault, 2, 0, 0, 0, 0, task_stack, 0, 0, 0, 0x10, 0x08, 0x10, 0x10, 0, 0, 0, 0x00680000
        db      0xff, 0xf0, 0, 0, 0, 0, 0, 0xff         ; ports 0-7 closed, 8-11 open, 12-15 closed, 56-63 closed, the rest open
        align   8
ldt:    dq      0x00cff3000000ffff      ; 07 ring 3 data
        dq      0x00cffb000000ffff      ; 0f ring 3 code
        dq      0
        dq      0x00cf73000000ffff      ; 1f absent
next_case: dd   0
scratch_pad: times 60 db 0

image_end:
        section .bss
        resb    4096
scratch: resb   4096
        resb    8192
user_stack: resb 4096
        resb    8192
kernel_stack: resb 4096
        resb    4096
task_stack: resb 4096
        alignb  4096
page_directory: resb 4096
page_table0: resb 4096
page_table1: resb 4096
bss_end:
